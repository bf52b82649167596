package config

import (
	"net/netip"
	"time"
)

// Config is the whole configuration of a sidecar, as read from its file, the
// environment and the command line. [Load] makes one and checks it; nothing in
// it changes afterwards.
//
// The tags of each field are the single source of its name (koanf), default,
// meaning (doc), bounds (min, max), choices (in), environment variable (env,
// where it is not the upper snake case of the key) and whether SIGHUP applies a
// change (reload); file lets a variable name a file that holds the value, as it
// can for every [Secret]. [Reference] is generated from them.
type Config struct {
	Instance  string    `koanf:"instance" doc:"Name of this sidecar among those that share a Redis; it owns the live calls it meters. Empty: the host's name"`
	DataDir   string    `koanf:"data_dir" default:"ringfence-data" doc:"Folder for what outlives the process: the embedded stores, the directory's snapshot"`
	Log       Log       `koanf:"log"`
	Hook      Hook      `koanf:"hook"`
	Public    Public    `koanf:"public"`
	Ops       Ops       `koanf:"ops"`
	SIP       SIP       `koanf:"sip"`
	Redis     Redis     `koanf:"redis"`
	Ledger    Ledger    `koanf:"ledger"`
	Stripe    Stripe    `koanf:"stripe"`
	Notify    Notify    `koanf:"notify"`
	SMTP      SMTP      `koanf:"smtp"`
	Calls     Calls     `koanf:"calls"`
	Policy    Policy    `koanf:"policy"`
	Emergency Emergency `koanf:"emergency"`
	Tariffs   Tariffs   `koanf:"tariffs"`
	Switches  []Switch  `koanf:"switches" doc:"The call switches that ask, each with the fields below. The variable holds the whole list as YAML or JSON and replaces the file's; single fields have variables of their own, NAME being the switch's name in capitals with _ for anything but letters and digits"`
	Meter     Meter     `koanf:"meter"`
	Audio     Audio     `koanf:"audio"`
	Retention Retention `koanf:"retention"`

	path     string            // the file that was read; empty: none
	origins  map[string]Origin // where each value came from, by key
	warnings []string
}

// Log says what is logged and how.
type Log struct {
	Level   string `koanf:"level" default:"info" in:"debug|info|warn|error" reload:"true" doc:"Least level that is logged"`
	Format  string `koanf:"format" default:"text" in:"text|json" doc:"Form of a log line"`
	Numbers string `koanf:"numbers" default:"masked" in:"masked|full" doc:"How phone numbers appear in logs"`
}

// Hook is the listener that switches ask.
type Hook struct {
	Listen         string        `koanf:"listen" default:"127.0.0.1:8402" doc:"TCP address for the switches; beyond loopback it demands hook.token or hook.tls.client_ca. Empty: the socket only"`
	Socket         string        `koanf:"socket" doc:"Path of a unix socket that serves the same. Empty: none"`
	Token          Secret        `koanf:"token" doc:"What switches send as Authorization: Bearer"`
	TLS            TLS           `koanf:"tls"`
	Deadline       time.Duration `koanf:"deadline" default:"250ms" min:"1ms" max:"10s" doc:"Time one request may take; when Redis does not answer within it, the failure policy decides"`
	MaxBody        Size          `koanf:"max_body" default:"64KiB" min:"1KiB" max:"16MiB" doc:"Largest request body"`
	MaxInFlight    int           `koanf:"max_in_flight" default:"1024" min:"1" max:"1000000" doc:"Authorize and quote requests worked on at once; more are answered 503. Events are never shed"`
	AudioURL       URL           `koanf:"audio_url" doc:"Base URL under which switches fetch prompts. Empty: that of hook.listen"`
	DefaultCountry string        `koanf:"default_country" default:"NL" reload:"true" doc:"Country (ISO 3166-1 alpha-2) of numbers that come without +"`
}

// TLS is the certificate of a listener, in PEM files.
type TLS struct {
	Cert     string `koanf:"cert" doc:"File with the listener's certificate chain (PEM). Empty: no TLS"`
	Key      string `koanf:"key" doc:"File with the certificate's key (PEM)"`
	ClientCA string `koanf:"client_ca" doc:"File with the authorities (PEM) whose client certificates are demanded. Empty: none are"`
}

// Public is the listener for customers.
type Public struct {
	Listen string `koanf:"listen" default:"127.0.0.1:8480" doc:"TCP address of the account API, the Stripe webhook and the billing page"`
	URL    URL    `koanf:"url" doc:"Base URL by which customers reach it. Empty: that of public.listen"`
}

// Ops is the listener for operators.
type Ops struct {
	Listen     string `koanf:"listen" default:"127.0.0.1:9402" doc:"TCP address of metrics, health, profiles and the admin API; beyond loopback it demands ops.admin_token"`
	AdminToken Secret `koanf:"admin_token" env:"RINGFENCE_ADMIN_TOKEN" doc:"What the CLI sends to the admin API as Authorization: Bearer"`
}

// SIP is the announcer, which plays prompts over early media.
type SIP struct {
	Listen           string         `koanf:"listen" default:"127.0.0.1:5092" doc:"UDP address of the announcer. Empty: no announcer"`
	Advertise        string         `koanf:"advertise" doc:"host:port by which switches reach the announcer, for the addresses the sidecar gives out. Empty: sip.listen"`
	Peers            []netip.Prefix `koanf:"peers" default:"127.0.0.0/8" doc:"Addresses (CIDR) that may ask for an announcement"`
	RTPPorts         PortRange      `koanf:"rtp_ports" default:"20000-24999" doc:"UDP ports for audio; each announcement takes an even one"`
	MaxAnnouncements int            `koanf:"max_announcements" default:"500" min:"1" max:"32000" doc:"Announcements at once; more get the final reply without audio"`
}

// Redis holds the balances and live calls.
type Redis struct {
	URL        URL           `koanf:"url" file:"true" doc:"redis://, rediss:// or unix:// for one node, redis+sentinel://host:port,host:port/name?db=0, redis+cluster://host:port,host:port. Empty: embedded"`
	Username   string        `koanf:"username" doc:"User (Redis ACL), where the URL names none"`
	Password   Secret        `koanf:"password" doc:"Password, where the URL holds none"`
	Partitions int           `koanf:"partitions" default:"64" min:"1" max:"1024" doc:"Parts the accounts are spread over; fixed once a deployment holds data"`
	PoolSize   int           `koanf:"pool_size" default:"0" min:"0" max:"10000" doc:"Connections to each node. 0: chosen by the number of processors"`
	Timeout    time.Duration `koanf:"timeout" default:"250ms" min:"1ms" max:"60s" doc:"Time to dial, and to wait for each answer"`
}

// Ledger is the durable truth: grants and settled calls.
type Ledger struct {
	URL URL `koanf:"url" file:"true" doc:"postgres://user:password@host:5432/database, or sqlite:///path/to/file. Empty: SQLite in data_dir"`
}

// Calls says how a call is held, metered and given up.
type Calls struct {
	Slice              time.Duration `koanf:"slice" default:"60s" min:"1s" max:"24h" doc:"Talk time one hold buys, in whole seconds; extended while the call lives"`
	MinSeconds         int           `koanf:"min_seconds" default:"1" min:"1" max:"3600" reload:"true" doc:"Seconds of talk that must be affordable for a call to be allowed"`
	UnansweredAfter    time.Duration `koanf:"unanswered_after" default:"240s" min:"1s" max:"24h" reload:"true" doc:"When the hold of a call that nobody answers lapses"`
	MaxDuration        time.Duration `koanf:"max_duration" default:"0" min:"0" max:"720h" reload:"true" doc:"Longest call. 0: as long as credit lasts"`
	ExtendBefore       time.Duration `koanf:"extend_before" default:"10s" min:"1ms" max:"1h" doc:"How long before a hold runs out the next slice is bought"`
	WarnBefore         time.Duration `koanf:"warn_before" default:"30s" min:"0" max:"1h" doc:"How long before the cut-off the caller is warned. 0: not at all"`
	HangupBefore       time.Duration `koanf:"hangup_before" default:"300ms" min:"0" max:"10s" doc:"How long before the last paid moment of a call the switch is told to hang up: its way there, and the delay of the answered event, fit in, and the call ends in its last paid second rather than in one it cannot pay"`
	HeartbeatEvery     time.Duration `koanf:"heartbeat_every" default:"30s" min:"100ms" max:"1h" doc:"How often heartbeating switches are set to report a live call: calls.heartbeat_timeout is checked against it"`
	HeartbeatTimeout   time.Duration `koanf:"heartbeat_timeout" default:"90s" min:"200ms" max:"24h" doc:"Silence after which a heartbeating switch's call is doubted"`
	LostAfter          time.Duration `koanf:"lost_after" default:"120s" min:"1s" max:"24h" doc:"Time past its limit after which a live call nobody can vouch for is settled to its last proof of life"`
	MaxExtraCostMicros int64         `koanf:"max_extra_cost_micros" default:"100000000" min:"0" max:"9007199254740991" doc:"Largest extra_cost of one call, in millionths of the currency"`
	RejectedPerMinute  int           `koanf:"rejected_per_minute" default:"60" min:"0" max:"1000000" doc:"Rejected calls recorded per account and minute; more are only counted"`
	Tombstone          time.Duration `koanf:"tombstone" default:"15m" min:"60s" max:"24h" doc:"How long Redis remembers a finished call; at least 60s, since an authorize may come that late"`
	EndMark            time.Duration `koanf:"end_mark" default:"120s" min:"60s" max:"24h" doc:"How long the end of a call not known yet is remembered; at least 60s, since an authorize may come that late"`
}

// Policy says who may call while Redis is away. Emergency numbers always may.
type Policy struct {
	Mode           string        `koanf:"mode" default:"known" in:"closed|known|open" reload:"true" doc:"closed: nobody; known: accounts lately seen with a healthy balance; open: every known account"`
	KnownAllowance time.Duration `koanf:"known_allowance" default:"300s" min:"0" max:"24h" reload:"true" doc:"Talk time per account and sidecar in mode known"`
	OpenCap        time.Duration `koanf:"open_cap" default:"600s" min:"0" max:"24h" reload:"true" doc:"Talk time per account and sidecar in mode open"`
	KnownFor       time.Duration `koanf:"known_for" default:"24h" min:"1s" max:"720h" reload:"true" doc:"How lately a healthy balance must have been seen in mode known"`
	HealthyCredits int64         `koanf:"healthy_credits" default:"5" min:"0" max:"1000000000" reload:"true" doc:"Credits from which a balance is healthy"`
}

// Emergency lists the numbers that always go through and never cost.
type Emergency struct {
	Numbers map[string][]string `koanf:"numbers" reload:"true" doc:"Emergency numbers by country (ISO 3166-1 alpha-2), as dialled, besides 112 and 911, which are always in. The variable holds them as YAML or JSON: {GB: [999, 101]}"`
}

// Tariffs says what calls cost.
type Tariffs struct {
	File    []string `koanf:"file" reload:"true" doc:"Tariff files (YAML). Empty: one credit a minute, per second, both directions"`
	Default string   `koanf:"default" default:"default" doc:"Tariff of accounts that name none"`
}

// The dialects of a [Switch].
const (
	DialectHTTP     = "http"
	DialectKamailio = "kamailio"
)

// Switch is one call switch and what it can do.
type Switch struct {
	Name       string        `koanf:"name" doc:"What the switch calls itself in its requests"`
	Dialect    string        `koanf:"dialect" default:"http" in:"http|kamailio" doc:"How it takes orders: http, the plain form of the hook contract; kamailio, JSON-RPC to a Kamailio with the configuration of deploy/kamailio, which lists and re-arms without being told to"`
	ControlURL URL           `koanf:"control_url" doc:"Where it takes orders (hangup, warn, extend, list). Empty: it cannot be controlled"`
	Token      Secret        `koanf:"token" doc:"Sent with each order as Authorization: Bearer"`
	List       bool          `koanf:"list" default:"false" doc:"It can list its live calls"`
	Heartbeat  bool          `koanf:"heartbeat" default:"false" doc:"It sends heartbeats for its live calls"`
	OnFailure  string        `koanf:"on_failure" default:"continue" in:"continue|terminate" doc:"What a heartbeating switch does with a call after three unanswered heartbeats"`
	Rearm      bool          `koanf:"rearm" default:"false" doc:"Its dead-man timer can be raised while a call lives"`
	Timeout    time.Duration `koanf:"timeout" default:"2s" min:"10ms" max:"60s" doc:"Time to wait for its answer to an order"`
}

// Meter says how live calls are looked after.
type Meter struct {
	Batch      int           `koanf:"batch" default:"20" min:"1" max:"1000" doc:"Calls extended in one pipeline"`
	Lease      time.Duration `koanf:"lease" default:"10s" min:"100ms" max:"10m" doc:"How long a silent sidecar keeps its calls before another may claim them"`
	SweepEvery time.Duration `koanf:"sweep_every" default:"60s" min:"100ms" max:"24h" doc:"How often Redis is searched for calls the index missed"`
}

// Audio is what callers hear when a call may not go.
type Audio struct {
	Dir      string `koanf:"dir" doc:"Folder with recordings that replace the built-in ones: PROMPT.LANG.wav, accounts/ID/PROMPT.LANG.wav. Empty: none"`
	Language string `koanf:"language" default:"en" doc:"Language of accounts that name none"`
	Mode     string `koanf:"mode" default:"early" in:"early|answer" doc:"How the announcer plays: early media and a refusal, or an answered call"`
}

// Retention says how long calls are kept whole. Sums and balances stay for ever.
type Retention struct {
	MaskAfter time.Duration `koanf:"mask_after" default:"0" min:"0" max:"87600h" doc:"Age from which the numbers of a call in the ledger are truncated. 0: never"`
	DropAfter time.Duration `koanf:"drop_after" default:"0" min:"0" max:"87600h" doc:"Age from which a call is dropped from the ledger, its sums kept. 0: never"`
}

// Path is the file that was read, empty if there was none.
func (c *Config) Path() string { return c.path }

// Warnings are things that are allowed but unwise, one sentence each. They
// never hold a secret.
func (c *Config) Warnings() []string { return append([]string(nil), c.warnings...) }

// Origin tells where the value of a key (hook.listen, switches[0].token) came
// from. A key that Load did not set has the origin default.
func (c *Config) Origin(key string) Origin {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return Origin{Source: FromDefault}
}
