package house

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// machine is a pretended machine: scripts run with only the commands that the test puts there, and find their files
// below a root of its own.
type machine struct {
	t    *testing.T
	root string
	path string // the only folder on the PATH
	env  []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), path: t.TempDir()}
	for _, dir := range []string{"usr/sbin", "etc/init.d", "tmp"} {
		m.mkdir(filepath.Join(m.root, dir))
	}
	m.env = []string{
		"PATH=" + m.path,
		"RINGFENCE_INSTALL_ROOT=" + m.root,
		"MACHINE=" + m.root,
		"TMPDIR=" + m.root + "/tmp",
	}
	const tools = "bash chmod dirname env grep head mktemp paste rm sed sh sort tee touch"
	for _, name := range strings.Fields(tools) {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(real, filepath.Join(m.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	m.command("id", "echo 0")
	return m
}

func (m *machine) mkdir(dir string) {
	m.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// command puts a shell script on the PATH. It finds the machine's root in $MACHINE; what it appends to
// $MACHINE/did, the test reads with did.
func (m *machine) command(name, script string) {
	m.t.Helper()
	m.write(filepath.Join(m.path, name), "#!/bin/sh\n"+script+"\n")
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	m.mkdir(filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// run runs a script with bash and returns its output and exit code.
func (m *machine) run(script string, args ...string) (out string, code int) {
	m.t.Helper()
	cmd := exec.Command("/bin/bash", append([]string{script}, args...)...)
	cmd.Env = m.env
	cmd.Dir = m.root // not the repository
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// did returns what the commands noted, line by line.
func (m *machine) did() []string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.root, "did"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func (m *machine) exists(path string) bool {
	_, err := os.Stat(filepath.Join(m.root, path))
	return err == nil
}

// need is a line of install.sh's table.
type need struct{ pkg, sign, service, why string }

// needs reads the table of install.sh.
func needs(t *testing.T) []need {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "deploy/install.sh"))
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?ms)^needs=\(\n(.*?)^\)`).FindSubmatch(text)
	if table == nil {
		t.Fatal("install.sh has no table of needs")
	}
	var all []need
	for line := range strings.Lines(string(table[1])) {
		fields := strings.Split(strings.Trim(strings.TrimSpace(line), "'"), "|")
		if len(fields) != 4 {
			t.Fatalf("not four fields: %s", line)
		}
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		all = append(all, need{fields[0], fields[1], fields[2], fields[3]})
	}
	return all
}

func names(needs []need) []string {
	var names []string
	for _, n := range needs {
		names = append(names, n.pkg)
	}
	return names
}

// apt puts an apt-get on the machine that notes how it was called and, told to install, makes every sign of the
// table appear.
func (m *machine) apt(needs []need) {
	var install strings.Builder
	for _, n := range needs {
		target := filepath.Join(m.path, n.sign)
		if filepath.IsAbs(n.sign) {
			target = filepath.Join(m.root, strings.ReplaceAll(n.sign, "*", "15"))
			m.mkdir(filepath.Dir(target))
		}
		fmt.Fprintf(&install, "touch %[1]s; chmod +x %[1]s\n", target)
	}
	m.command("apt-get", `
echo "apt-get $DEBIAN_FRONTEND $*" >>$MACHINE/did
case "$*" in
*" update") exit ${UPDATE_FAILS:-0} ;;
esac
if [ -x $MACHINE/usr/sbin/policy-rc.d ]; then
	$MACHINE/usr/sbin/policy-rc.d redis-server start
	echo "policy $?" >>$MACHINE/did
fi
[ -n "$INSTALLS_NOTHING" ] && exit 0
`+install.String())
}

const aptGet = "apt-get noninteractive -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "

func TestInstallNeedsAreComplete(t *testing.T) {
	t.Parallel()
	for _, n := range needs(t) {
		if n.pkg == "" || n.sign == "" || n.service == "" || n.why == "" {
			t.Errorf("%+v: a field is empty", n)
		}
	}
}

func TestInstallOnAFreshMachine(t *testing.T) {
	t.Parallel()
	all := needs(t)
	script := filepath.Join(root(t), "deploy/install.sh")
	for name, c := range map[string]struct {
		env     []string
		prepare func(*machine)
		did     []string // after update and install
		policy  bool     // remains
	}{
		"plain": {did: []string{"policy 101"}},
		"package lists cannot be had": {
			env: []string{"UPDATE_FAILS=100"},
			did: []string{"policy 101"},
		},
		"the administrator has a policy": {
			prepare: func(m *machine) { m.write(m.root+"/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n") },
			did:     []string{"policy 0"},
			policy:  true,
		},
		"init scripts": {
			prepare: func(m *machine) {
				m.write(m.root+"/etc/init.d/redis-server", "#!/bin/sh\necho redis $1 >>$MACHINE/did\n")
			},
			did: []string{"policy 101", "redis stop"},
		},
		"systemd": {
			prepare: func(m *machine) {
				m.mkdir(m.root + "/run/systemd/system")
				m.command("systemctl", `echo "systemctl $*" >>$MACHINE/did`)
			},
			did: func() []string {
				did := []string{"policy 101"}
				for _, n := range all {
					if n.service != "-" {
						did = append(did, "systemctl disable --now --quiet "+n.service)
					}
				}
				return did
			}(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.env = append(m.env, c.env...)
			m.apt(all)
			if c.prepare != nil {
				c.prepare(m)
			}
			out, code := m.run(script, "--missing")
			if want := strings.Join(names(all), "\n") + "\n"; out != want || code != 0 {
				t.Errorf("--missing: %d, %q, want %q", code, out, want)
			}
			if m.exists("did") {
				t.Errorf("--missing did something: %q", m.did())
			}
			out, code = m.run(script)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, out)
			}
			for _, n := range all {
				if !strings.Contains(out, n.pkg+": "+n.why+"\n") {
					t.Errorf("it does not say why it installs %s: %s", n.pkg, out)
				}
			}
			want := append([]string{
				aptGet + "update",
				aptGet + "install -y --no-install-recommends " + strings.Join(names(all), " "),
			}, c.did...)
			if got := m.did(); !slices.Equal(got, want) {
				t.Errorf("did %q, want %q", got, want)
			}
			if got := m.exists("usr/sbin/policy-rc.d"); got != c.policy {
				t.Errorf("policy-rc.d remains: %v, want %v", got, c.policy)
			}
			if out, code := m.run(script); out != "" || code != 0 {
				t.Errorf("a second time: %d, %q, want nothing to do", code, out)
			}
		})
	}
}

func TestInstallLeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.apt(needs(t))
	m.command("shellcheck", "")
	m.write(m.root+"/usr/sbin/redis-server", "")
	m.write(m.root+"/usr/lib/postgresql/17/bin/postgres", "")
	out, code := m.run(filepath.Join(root(t), "deploy/install.sh"), "--missing")
	for _, pkg := range strings.Fields(out) {
		if pkg == "shellcheck" || pkg == "redis-server" || pkg == "postgresql" {
			t.Errorf("%s counts as missing", pkg)
		}
	}
	if code != 0 || !strings.Contains(out, "prometheus\n") {
		t.Errorf("%d, %q, want prometheus in it", code, out)
	}
}

func TestInstallSaysWhatItCannotDo(t *testing.T) {
	t.Parallel()
	all := needs(t)
	byHand := "as root run:\n  apt-get update && apt-get install -y --no-install-recommends " + strings.Join(names(all), " ") + "\n"
	for name, c := range map[string]struct {
		args    []string
		prepare func(*machine)
		want    string
	}{
		"not root": {prepare: func(m *machine) { m.command("id", "echo 1000") }, want: byHand},
		"sudo asks, no one is there": {prepare: func(m *machine) {
			m.command("id", "echo 1000")
			m.command("sudo", "exit 1")
		}, want: byHand},
		"not Debian": {prepare: func(m *machine) { _ = os.Remove(m.path + "/apt-get") }, want: "there is no apt-get"},
		"installed in vain": {prepare: func(m *machine) { m.env = append(m.env, "INSTALLS_NOTHING=1") },
			want: "installed, and yet not found: " + strings.Join(names(all), " ")},
		"apt-get fails": {prepare: func(m *machine) { m.command("apt-get", "exit 100") },
			want: "apt-get could not install: " + strings.Join(names(all), " ")},
		"unknown argument": {args: []string{"--quick"}, prepare: func(*machine) {}, want: "unknown argument --quick"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.apt(all)
			c.prepare(m)
			out, code := m.run(filepath.Join(root(t), "deploy/install.sh"), c.args...)
			if code != 1 || !strings.Contains(out, c.want) {
				t.Errorf("%d, %q, want 1 and %q", code, out, c.want)
			}
			if m.exists("usr/sbin/policy-rc.d") {
				t.Error("policy-rc.d remains")
			}
		})
	}
}

func TestInstallUsesSudo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.apt(needs(t))
	m.command("id", "echo 1000")
	m.command("sudo", `[ "$1" = -n ] && exit 0; echo "sudo $1" >>$MACHINE/did; exec "$@"`)
	if out, code := m.run(filepath.Join(root(t), "deploy/install.sh")); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	for _, line := range []string{"sudo env", "sudo sh", "sudo rm"} {
		if !slices.Contains(m.did(), line) {
			t.Errorf("did %q, want %q in it", m.did(), line)
		}
	}
}

// testScript is a machine with deploy/test.sh in a repository whose other scripts, and go, are stand-ins.
func testScript(t *testing.T) (m *machine, script string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "deploy/test.sh"))
	if err != nil {
		t.Fatal(err)
	}
	m = newMachine(t)
	script = m.root + "/repository/deploy/test.sh"
	m.write(script, string(text))
	m.write(m.root+"/repository/go.mod", "module x\n\ngo 1.26.0\n")
	for _, name := range []string{"install", "lint"} {
		m.write(m.root+"/repository/deploy/"+name+".sh", "#!/bin/sh\n"+
			`echo "`+name+`.sh $*" >>$MACHINE/did; `+"\n"+`case " $FAIL " in *" `+name+` "*) exit 1 ;; esac`+"\n")
	}
	m.command("go", `
case "$1" in
env) echo ${GOVERSION:-go1.26.8}; exit ;;
version) exit ;;
esac
echo "go $*; required $RINGFENCE_REQUIRE_SERVICES" >>$MACHINE/did
case " $FAIL " in
*" $1 "*)
	printf 'ok  \tx/authz\t0.1s\nFAIL\tx/meter\t0.1s\nFAIL\tx/audio [build failed]\n?   \tx/cmd\t[no test files]\nFAIL\n'
	exit 1 ;;
esac
printf 'ok  \tx/authz\t0.1s\n'`)
	return m, script
}

func TestTestScript(t *testing.T) {
	t.Parallel()
	const (
		build = "go build -buildvcs=false -o /dev/null "
		race  = "go test -race -gcflags=modernc.org/...=-d=checkptr=0 -count=1 -timeout 40m "
	)
	for name, c := range map[string]struct {
		env, args []string
		code      int
		did       []string
		said      []string
	}{
		"everything": {
			did:  []string{"install.sh ", "lint.sh ./...", build + "./...; required 1", race + "./...; required 1"},
			said: []string{"\nok  \tx/authz\t0.1s\n", "packages: 1 ok, 0 failed, 0 without tests\n"},
		},
		"packages and flags": {
			args: []string{"-run", "TestHold", "./meter/...", "./authz"},
			did: []string{"install.sh ", "lint.sh ./meter/... ./authz", build + "./meter/... ./authz; required 1",
				race + "-run TestHold ./meter/... ./authz; required 1"},
		},
		"only flags": {
			args: []string{"-run", "TestHold"},
			did: []string{"install.sh ", "lint.sh ./...", build + "./...; required 1",
				race + "./... -run TestHold; required 1"},
		},
		"tests fail": {
			env: []string{"FAIL=test"}, code: 1,
			said: []string{"lint     ok", "build    ok", "test     FAILED",
				"packages: 1 ok, 2 failed, 1 without tests\n",
				"  failed: x/meter\t0.1s\n", "  failed: x/audio [build failed]\n"},
		},
		"lint and build fail, tests run": {
			env: []string{"FAIL=lint build"}, code: 1,
			said: []string{"lint     FAILED", "build    FAILED", "test     ok"},
		},
		"nothing can be installed": {env: []string{"FAIL=install"}, code: 1, did: []string{"install.sh "}},
		"old Go": {
			env: []string{"GOVERSION=go1.19.8"}, code: 1,
			said: []string{"Go 1.26.0 or later is needed, this is go1.19.8"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, script := testScript(t)
			m.env = append(m.env, c.env...)
			out, code := m.run(script, c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, out)
			}
			if c.did != nil && !slices.Equal(m.did(), c.did) {
				t.Errorf("did %q, want %q", m.did(), c.did)
			}
			for _, part := range c.said {
				if !strings.Contains(out, part) {
					t.Errorf("said %q, want %q in it", out, part)
				}
			}
			if left, _ := filepath.Glob(m.root + "/tmp/*"); left != nil {
				t.Errorf("left %q behind", left)
			}
		})
	}
}

func TestTestScriptWithoutGo(t *testing.T) {
	t.Parallel()
	m, script := testScript(t)
	if err := os.Remove(m.path + "/go"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	// This machine may have it where the script looks last.
	m.write(script, strings.ReplaceAll(string(text), "/usr/local/go/bin", m.root+"/nowhere"))
	out, code := m.run(script)
	if code != 1 || !strings.Contains(out, "no go command found; install Go 1.26.0 or later") {
		t.Errorf("%d, %q", code, out)
	}
}
