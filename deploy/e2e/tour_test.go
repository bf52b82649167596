package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// TestTour pastes the README's five minutes with Kamailio and sipp into a shell. Only the ports are others, so that
// nothing is in the way, and the program is the one that all tests use.
func TestTour(t *testing.T) {
	t.Parallel()
	services.Tool(t, "kamailio", kamailioPackages)
	services.Tool(t, "sipp", sippPackages)
	services.Tool(t, "curl", "curl")
	readme, err := os.ReadFile("../../README.md")
	must(t, err)
	var pasted strings.Builder
	for _, block := range regexp.MustCompile("(?s)<!-- tour -->\n```sh\n(.*?)```").FindAllSubmatch(readme, -1) {
		pasted.Write(block[1])
	}
	const build = "go build -o $tour/ringfence ./cmd/ringfence\n"
	script := pasted.String()
	if !strings.Contains(script, build) {
		t.Fatalf("the tour does not begin with %q", build)
	}
	script = strings.Replace(script, build, "cp "+services.Binary(t)+" $tour/ringfence\n", 1) // which is built already
	port := map[string]string{}
	for _, p := range []string{"5060", "5061", "5070", "5071", "5080", "5092", "6000", "8402", "8480", "9402"} {
		free := services.FreePort(t)
		for free >= 20000 && free < 25000 { // the announcer's for audio, where it does not want its own
			free = services.FreePort(t)
		}
		port[p] = strconv.Itoa(free)
		script = regexp.MustCompile(`\b`+p+`\b`).ReplaceAllString(script, port[p])
	}
	root, err := filepath.Abs("../..")
	must(t, err)
	dir := t.TempDir()
	local := func(p string) string { return "127.0.0.1:" + port[p] }
	run := services.Command{
		Path: "/bin/bash", Args: []string{"-euo", "pipefail", "-c", script}, Dir: root,
		Env: []string{
			"RINGFENCE_HOOK_LISTEN=" + local("8402"), "RINGFENCE_PUBLIC_LISTEN=" + local("8480"), "RINGFENCE_OPS_LISTEN=" + local("9402"),
			"RINGFENCE_SIP_LISTEN=" + local("5092"), "RINGFENCE_OPS_URL=http://" + local("9402"),
			"RF_LISTEN=udp:" + local("5060"), "RF_RPC_PORT=" + port["5080"], "RF_SIDECAR=http://" + local("8402"), "RF_TRUNK=sip:" + local("5070"),
			"RF_ANNOUNCER=" + local("5092"), "RF_ASK_SECONDS=5", "RINGFENCE_HOOK_DEADLINE=4s", "no_proxy=127.0.0.1", "TMPDIR=" + dir,
		},
	}.Start(t)
	// Should the script break off, what it has started is still there, in its process group.
	t.Cleanup(func() { _ = syscall.Kill(-run.Pid(), syscall.SIGKILL) })
	if code := run.Wait(3 * time.Minute); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	said := run.Logs()
	rest := said
	// Six seconds of credit. On a machine that is busy Kamailio's own limit may end the call first, a second later.
	const late = `"duration_sec":7,"cost_units":7000`
	reason, settled := `text="insufficient_credits"`, `"duration_sec":6,"cost_units":6000,"cost_micros":7000`
	if strings.Contains(said, late) {
		reason, settled = "SIP/2.0 200 OK", late
	}
	for _, want := range []string{ // in this order
		"minutes left  0.1",
		"INVITE sip:" + someone, "SIP/2.0 180 Ringing", "SIP/2.0 200 OK", "BYE sip:+31850835037@", reason, `"status":"settled"`, settled,
		"INVITE sip:" + someone, "SIP/2.0 402 Payment Required",
		"INVITE sip:+31850835037@", "SIP/2.0 183 Session Progress", "SIP/2.0 402 Payment Required", "Reason: Q.850;cause=21",
		`"direction":"inbound"`, `"status":"rejected"`,
		"INVITE sip:112@", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK", "BYE sip:callee@", "SIP/2.0 200 OK",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Errorf("nothing said %q in its turn", want)
			continue
		}
		rest = after
	}
	if t.Failed() {
		t.Log(said)
		logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log")) // the pattern is well-formed
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", log, text)
		}
	}
}
