package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/announce"
	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/directory"
	"github.com/hmsovereign/ringfence/authz/hook"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/meter"
	"github.com/hmsovereign/ringfence/meter/journal"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/notify"
	"github.com/hmsovereign/ringfence/sync/outbox"
	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/page"
	"github.com/hmsovereign/ringfence/sync/reconcile"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// Options are what a sidecar is given beside its configuration.
type Options struct {
	Log   *slog.Logger
	Level *slog.LevelVar // of Log, changed by Reload; may be nil
	// Embedded says that redis.url leads to a miniredis, such as the demo's.
	Embedded bool
}

// App is one sidecar.
type App struct {
	cfg    *config.Config // of the start
	loaded *config.Config // read last; only Reload looks at it
	opt    Options
	log    *slog.Logger
	reg    *prometheus.Registry
	mini   *miniredis.Miniredis // nil: Redis is real
	redis  redis.UniversalClient

	Store      *balance.Store
	Directory  *directory.Directory
	Authorizer *authz.Authorizer
	Meter      *meter.Meter
	Hook       *hook.Server
	Ledger     *ledger.Ledger
	Rebuilder  *reconcile.Rebuilder
	Comparer   *reconcile.Comparer
	mirror     *directory.Redis
	keeper     *outbox.Keeper
	outbox     *outbox.Reader
	notifier   *notify.Notifier
	completer  *portal.Completer
	story      *story
	journal    *journal.Journal
	left       journal.Left // what an earlier process left, as far as it is not found yet
	unproven   *unproven
	seeking    atomic.Bool      // calls of left are looked for
	announcer  *announce.Server // nil: none is configured
	api        *account.Server
	shop       *stripe.Service
	desk       *stripe.Desk
	usage      *usage.Reporter // nil: usage is not reported
	page       *page.Page
	keys       *account.KeyAdmin
	tariffs    chan []string // files to read, named by a reload
	public     *server
	ops        *server
	joined     bool // the deployment of this Redis; New's, then belong's
}

// server is a plain HTTP listener.
type server struct {
	name string
	http *http.Server
	l    net.Listener
}

// New builds a sidecar and binds its listeners but the hooks', which Run binds
// last. What it needs of Redis it asks for ctx long; a Redis that does not
// answer is no error: the failure policy decides until it does.
func New(ctx context.Context, cfg *config.Config, opt Options) (_ *App, err error) {
	a := &App{cfg: cfg, loaded: cfg, opt: opt, log: opt.Log, reg: newRegistry(), story: &story{}, tariffs: make(chan []string, 1)}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	balance.LogTo(a.log)
	authz.LogNumbersInFull(cfg.Log.Numbers == "full")
	if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("data_dir %q: %w; choose a folder this user may write (RINGFENCE_DATA_DIR)", cfg.DataDir, err)
	}
	if a.redis, a.mini, err = openRedis(cfg); err != nil {
		return nil, err
	}
	if err := a.openLedger(ctx); err != nil {
		return nil, err
	}
	if err := a.openNotifier(); err != nil {
		return nil, err
	}
	if a.journal, a.left, err = journal.Open(cfg.DataDir, cfg.Instance, a.log); err != nil {
		return nil, err
	}
	a.unproven = &unproven{redis: a.redis, journal: a.journal, calls: a.left.Unproven, others: map[uuid.UUID]authz.Call{}, heard: map[authz.Key]time.Time{}}
	a.seeking.Store(len(a.left.Calls) > 0)
	a.keeper = outbox.NewKeeper(recorded{a.Ledger}, a.journal, a.log)
	a.keeper.Load(a.left.Records)
	store := balanceConfig(cfg, opt.Embedded || a.mini != nil)
	store.Retain, store.Wanted = a.keeper.Retain, a.wanted
	if a.Store, err = balance.New(a.redis, store, balance.NewMetrics(a.reg)); err != nil {
		return nil, err
	}
	check, cancel := context.WithTimeout(ctx, 2*time.Second)
	err = a.join(check)
	cancel()
	if misfit(err) {
		return nil, err
	} else if errors.Is(err, authz.ErrDown) {
		a.log.Error("Redis does not answer; the failure policy decides until it does", "policy", cfg.Policy.Mode, "error", err)
	}
	rc := reconcile.Config{Holder: cfg.Instance, Grace: grace}
	if a.mini != nil {
		rc.Grace = 0 // nobody else knows anything of it
	}
	rm := reconcile.NewMetrics(a.reg)
	a.Rebuilder = reconcile.NewRebuilder(rc, a.Ledger, a.Store, a.log, rm)
	a.Comparer = reconcile.NewComparer(a.Ledger, a.Store, a.Rebuilder, a.log, rm)
	a.Comparer.Unproven, a.Comparer.Accept = a.unproven.of, a.unproven.accept
	if a.mirror, err = directory.NewRedis(a.redis); err != nil {
		return nil, err
	}
	if a.mini != nil {
		fill, done := context.WithTimeout(ctx, 5*time.Minute)
		err := a.fillEmbedded(fill)
		if done(); err != nil {
			return nil, err
		}
	}
	a.Directory = directory.New(directory.Config{Source: a.mirror, Mirror: a.mirror, Snapshot: filepath.Join(cfg.DataDir, "directory.snapshot"),
		Log: a.log, Metrics: directory.NewMetrics(a.reg)})

	switches, err := openSwitches(cfg, a.log)
	if err != nil {
		return nil, err
	}
	watchful := watchfulStore{tellingStore{a.Store, a.story}, a.Rebuilder, a.journal, new(seqs)}
	mc := meterConfig(cfg, func(raw string) string { return a.Authorizer.Normalize(raw) })
	mc.Ended = a.Ledger.KnownCalls
	a.Meter = meter.New(mc, watchful, a.Directory, switches, a.log, meter.NewMetrics(a.reg))
	settings, err := authorizerSettings(cfg)
	if err != nil {
		return nil, err
	}
	a.Authorizer = authz.NewAuthorizer(settings, a.Directory, watchful, watchfulTracker{a.Meter, a.journal}, a.log, authz.NewMetrics(a.reg))

	prompts, err := audio.Load(audio.Options{Dir: cfg.Audio.Dir, Language: cfg.Audio.Language})
	if err != nil {
		return nil, err
	}
	if a.announcer, err = openAnnouncer(cfg, prompts, a.log, a.reg); err != nil {
		return nil, err
	}
	if a.Hook, err = hook.New(withRecordings(hookConfig(cfg), prompts), a.Authorizer, revivingEvents{tellingEvents{a.Meter, a.story}, a}, audio.Handler(prompts), a.log, hook.NewMetrics(a.reg)); err != nil {
		return nil, err
	}
	if err := a.openBilling(); err != nil {
		return nil, err
	}
	if err := a.openShop(); err != nil {
		return nil, err
	}
	a.api = account.New(account.Config{Routes: a.shopRoutes(), Directory: a.Directory, Keys: a.Ledger, Sums: a.Ledger, Lists: a.Ledger, Balances: a.Store, Redis: a.redis,
		Log: a.log, Metrics: account.NewMetrics(a.reg)})
	if err := a.openPage(); err != nil {
		return nil, err
	}
	if a.public, err = listen(ctx, "public", cfg.Public.Listen, a.withPage(a.publicHandler())); err != nil {
		return nil, err
	}
	a.public.http.RegisterOnShutdown(a.page.Stop)
	streams := make([]string, a.Store.Partitions())
	for p := range streams {
		streams[p] = a.Store.OutboxKey(p)
	}
	a.outbox = outbox.New(outbox.Config{Streams: streams, Holder: cfg.Instance, Epoch: a.Meter.Epoch, Late: a.Rebuilder.Behind,
		Then: a.then(), Notices: a.notifier.Live}, a.redis, a.Ledger, a.Store, a.log, outbox.NewMetrics(a.reg))
	admin, completer := a.admin()
	a.completer = completer
	if a.ops, err = listen(ctx, "ops", cfg.Ops.Listen, opsHandler(a.reg, a.parts(), admin.Protect, a.operator(admin.Protect, admin))); err != nil {
		return nil, err
	}
	return a, nil
}

// listen binds an HTTP listener and serves nothing yet.
func listen(ctx context.Context, name, addr string, h http.Handler) (*server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s.listen %q: %w", name, addr, err)
	}
	return &server{name: name, l: l, http: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}}, nil
}

// OpsAddr is the address of the ops listener.
func (a *App) OpsAddr() string { return a.ops.l.Addr().String() }

// PublicAddr is the address of the public listener.
func (a *App) PublicAddr() string { return a.public.l.Addr().String() }

// HookAddr is the address of the hook listener; empty before Run has bound it.
func (a *App) HookAddr() string {
	if addr := a.Hook.Addr(); addr != nil {
		return addr.String()
	}
	return ""
}

// parts are the components that /readyz tells of.
func (a *App) parts() []component {
	return []component{
		{"directory", true, func(context.Context) error {
			if !a.Directory.Ready() {
				return errors.New("accounts and numbers are not loaded yet")
			}
			return nil
		}},
		{"redis", false, a.Store.Ping},
		{"ledger", false, a.Ledger.CheckSchema},
		{"meter", false, func(context.Context) error {
			if a.Meter.Epoch() == 0 {
				return errors.New("not registered with Redis yet: calls let go meanwhile are adopted later")
			}
			return nil
		}},
	}
}

// close ends what New made.
func (a *App) close() {
	if a.ops != nil {
		_ = a.ops.http.Close()
		_ = a.ops.l.Close()
	}
	if a.public != nil {
		_ = a.public.http.Close()
		_ = a.public.l.Close()
	}
	if a.announcer != nil {
		a.announcer.Close()
	}
	if a.Store != nil {
		a.Store.Close()
	}
	if a.Ledger != nil {
		_ = a.Ledger.Close()
	}
	if a.redis != nil {
		_ = a.redis.Close()
	}
	if a.mini != nil {
		a.mini.Close()
	}
	if a.journal != nil {
		a.journal.Abandon()
	}
}

// grace is how long an account that was rebuilt stays closed to new calls, for
// every sidecar to put back what it knows of it.
const grace = 5 * time.Second

// Reload applies what of a new configuration can change while calls are on, and
// says what needs a restart.
func (a *App) Reload(next *config.Config) {
	_, restart := config.Diff(a.cfg, next)
	for _, c := range restart {
		a.log.Warn("setting changed, but takes effect only after a restart", "key", c.Key, "old", c.Old, "new", c.New)
	}
	settings, err := authorizerSettings(next)
	if err != nil {
		a.log.Error("configuration not reloaded", "error", err)
		return
	}
	// The meter goes by these as they were at the start.
	first, err := authorizerSettings(a.cfg)
	if err != nil {
		a.log.Error("configuration not reloaded", "error", err)
		return
	}
	settings.Slice, settings.OnFailure = first.Slice, first.OnFailure
	a.Authorizer.Set(settings)
	if a.opt.Level != nil {
		a.opt.Level.Set(Level(next.Log.Level))
	}
	reload, _ := config.Diff(a.loaded, next)
	for _, c := range reload {
		a.log.Info("setting changed", "key", c.Key, "old", c.Old, "new", c.New)
	}
	select {
	case <-a.tariffs: // an older reload's, not taken up yet
	default:
	}
	a.tariffs <- next.Tariffs.File
	a.loaded = next
	a.log.Info("configuration reloaded")
}
