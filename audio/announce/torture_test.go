package announce

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// torture reads the messages of RFC 4475 (see testdata/torture/README.md).
func torture(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/torture/*.dat")
	if err != nil || len(files) != 49 {
		t.Fatalf("%d torture messages, want the 49 of RFC 4475: %v", len(files), err)
	}
	messages := make(map[string][]byte)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(data, []byte("\r\n")) < 3 {
			t.Fatalf("%s has lost its line ends", f)
		}
		messages[strings.TrimSuffix(filepath.Base(f), ".dat")] = data
	}
	return messages
}

// What comes of a message that gets no reply.
const (
	dropped = -1 // the parser refuses it: counted as malformed
	ignored = -2 // a response that belongs to nothing
)

// tortureReplies is what the announcer does with each message: the final reply,
// of an INVITE after the prompt. Where the library's parser refuses a message,
// the sender hears nothing where RFC 4475 would like a 400: it repeats the
// request and gives up. Two valid messages are refused too: white space around
// a tag's equals sign, and the From without a tag of RFC 2543.
var tortureReplies = map[string]int{
	// 3.1.1, valid
	"wsinv": 400, "intmeth": 405, "esc01": 402, "escnull": 405, "esc02": 405, "lwsdisp": 200, "longreq": 402, "dblreq": 405,
	"semiuri": 200, "transports": 200, "mpart01": 405, "unreason": ignored, "noreason": ignored,
	// 3.1.2, invalid
	"badinv01": dropped, "clerr": dropped, "ncl": dropped, "scalar02": dropped, "scalarlg": dropped, "quotbal": dropped,
	"ltgtruri": dropped, "lwsruri": dropped, "lwsstart": dropped, "trws": dropped, "escruri": 402, "baddate": 402,
	"regbadct": 405, "badaspec": dropped, "baddn": 200, "badvers": 505, "mismatch01": 400, "mismatch02": 400, "bigcode": dropped,
	// 3.2 to 3.4
	"badbranch": 200, "insuf": 400, "unkscm": 416, "novelsc": dropped, "unksm2": 405, "bext01": 420, "invut": 415,
	"regaut01": 405, "multi01": 400, "mcl01": 400, "bcast": ignored, "zeromf": 200, "cparam01": 405, "cparam02": 405,
	"regescrt": 405, "sdp01": 402, "inv2543": 400,
}

func TestTortureMessages(t *testing.T) {
	h := serve(t)
	const malformed = "ringfence_announcer_malformed_datagrams_total"
	for name, msg := range torture(t) {
		t.Run(name, func(t *testing.T) {
			p := newPhone(t, h.Addr())
			before := h.value(malformed)
			p.raw(msg)
			switch want := tortureReplies[name]; want {
			case 0:
				t.Fatal("no expectation")
			case dropped:
				h.eventually(before+1, malformed)
			case ignored:
			default:
				res := p.receive().(*sip.Response)
				for res.IsProvisional() {
					res = p.receive().(*sip.Response)
				}
				if res.StatusCode != want || res.SipVersion != "SIP/2.0" {
					t.Errorf("got\n%s\nwant %d", res, want)
				}
			}
			if res := newPhone(t, h.Addr()).other("OPTIONS", "sip:x"); res.StatusCode != 200 {
				t.Errorf("afterwards OPTIONS gets\n%s", res)
			}
		})
	}
}

// The whole corpus again and again, whole and cut off at every length: the
// announcer lives, and when it stops nothing of it is left.
func TestTortureLeavesNothingBehind(t *testing.T) {
	files, routines := openFiles(), runtime.NumGoroutine()
	t.Run("torture", func(t *testing.T) {
		h := serve(t)
		p := newPhone(t, h.Addr())
		alive := func() {
			if res := p.other("OPTIONS", "sip:x"); res.StatusCode != 200 {
				t.Fatalf("OPTIONS gets\n%s", res)
			}
		}
		sink := loopback(t) // replies nobody reads
		defer sink.Close()
		send := func(msg []byte) {
			if _, err := sink.WriteToUDPAddrPort(msg, h.Addr()); err != nil {
				t.Fatal(err)
			}
		}
		for name, msg := range torture(t) {
			for round := range 10 { // each a transaction of its own
				send(bytes.ReplaceAll(msg, []byte("z9hG4bK"), fmt.Appendf(nil, "z9hG4bK%d", round)))
			}
			for cut := range len(msg) {
				if cut%20 == 0 {
					alive() // which keeps the socket's buffer from flowing over
				}
				send(bytes.ReplaceAll(msg[:cut], []byte("z9hG4bK"), fmt.Appendf(nil, "z9hG4bK%s%d", name, cut)))
			}
			alive()
		}
		h.eventually(0, "ringfence_announcer_active")
		h.mu.Lock()
		left := len(h.dialogs)
		h.mu.Unlock()
		if left > 0 {
			t.Errorf("%d dialogs are left", left)
		}
	})
	if n := openFiles(); n > files {
		t.Errorf("%d files and sockets are open, %d before", n, files)
	}
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > routines && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > routines {
		t.Errorf("%d goroutines, %d before", n, routines)
	}
}

// openFiles counts this process' files and sockets; 0 where the system does not
// tell.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// FuzzDatagram sends any bytes to a whole server, and then asks whether it is
// alive. A panic outside the server's own handlers, in the library's
// goroutines, ends the test. Run it with -fuzzminimizetime 10x: minimizing what
// is merely interesting takes longer than finding it.
func FuzzDatagram(f *testing.F) {
	for _, msg := range torture(f) {
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		m := NewMetrics(prometheus.NewRegistry())
		// No RTP leaves this machine, whatever address the datagram names.
		s, err := New(Config{MediaIP: "127.0.0.1", AckTimeout: time.Millisecond}, lib, discard, m)
		if err != nil {
			t.Fatal(err)
		}
		conn := &memoryConn{in: make(chan []byte, 2), alive: make(chan struct{}), woken: make(chan struct{})}
		if err := s.start(conn); err != nil {
			t.Fatal(err)
		}
		conn.in <- datagram
		conn.in <- []byte("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bKaliveAlive\r\nFrom: <sip:p>;tag=p\r\n" +
			"To: <sip:x>\r\nCall-ID: alive\r\nCSeq: 4242 OPTIONS\r\nContent-Length: 0\r\n\r\n")
		select {
		case <-conn.alive:
		case <-time.After(patience):
			t.Fatal("no reply to OPTIONS")
		}
		s.Close()
		if n := testutil.ToFloat64(m.panics); n != 0 {
			t.Fatalf("%v panics", n)
		}
	})
}

// memoryConn is a SIP socket without a network.
type memoryConn struct {
	in    chan []byte
	alive chan struct{}
	woken chan struct{} // by a read deadline
	once  sync.Once
}

var memoryPeer = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5060}

func (c *memoryConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-c.in:
		return copy(b, d), memoryPeer, nil
	case <-c.woken:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (c *memoryConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	if bytes.Contains(b, []byte("4242 OPTIONS")) && bytes.Contains(b, []byte("200 OK")) {
		c.once.Do(func() { close(c.alive) })
	}
	return len(b), nil
}

func (c *memoryConn) SetReadDeadline(time.Time) error { close(c.woken); return nil }

func (c *memoryConn) Close() error { return nil }
func (c *memoryConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5092}
}
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
