package announce

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"github.com/hmsovereign/ringfence/audio"
)

// patience bounds every wait of a test for something that must happen. It is
// long: a busy machine plays the longest prompt slowly.
const patience = 30 * time.Second

// heard is one RTP packet with the time it was read.
type heard struct {
	at   time.Time
	from netip.AddrPort
	rtp.Packet
}

// phone is a SIP user agent client and an RTP receiver on loopback. It writes
// its messages itself, so that a test decides about each byte and each
// retransmission.
type phone struct {
	t      testing.TB
	server netip.AddrPort
	sip    *net.UDPConn
	rtp    *net.UDPConn
	inbox  chan sip.Message

	mu      sync.Mutex
	packets []heard
	news    chan struct{} // closed and replaced at each packet
	flushed chan struct{} // gets one for each mark that flush has sent
}

func newPhone(t testing.TB, server netip.AddrPort) *phone {
	t.Helper()
	here := net.IPv4(127, 0, 0, 1)
	if server.Addr().Is6() {
		here = net.IPv6loopback
	}
	p := &phone{t: t, server: server, sip: bind(t, here), rtp: bind(t, here), inbox: make(chan sip.Message, 100),
		news: make(chan struct{}), flushed: make(chan struct{}, 1)}
	var readers sync.WaitGroup
	readers.Go(p.readSIP)
	readers.Go(p.readRTP)
	t.Cleanup(func() {
		p.sip.Close()
		p.rtp.Close()
		readers.Wait()
	})
	return p
}

func loopback(t testing.TB) *net.UDPConn { return bind(t, net.IPv4(127, 0, 0, 1)) }

func bind(t testing.TB, ip net.IP) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func portOf(conn *net.UDPConn) int { return conn.LocalAddr().(*net.UDPAddr).Port }

func (p *phone) readSIP() {
	parser := sip.NewParser()
	buf := make([]byte, 65535)
	for {
		n, _, err := p.sip.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		msg, err := parser.ParseSIP(slices.Clone(buf[:n]))
		if err != nil {
			p.t.Errorf("the announcer sent what is no SIP message: %v\n%s", err, buf[:n])
			continue
		}
		select {
		case p.inbox <- msg:
		default:
			p.t.Error("more messages than anybody reads")
		}
	}
}

func (p *phone) readRTP() {
	buf := make([]byte, 1500)
	for {
		n, from, err := p.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if int(from.Port()) == portOf(p.sip) {
			p.flushed <- struct{}{}
			continue
		}
		h := heard{at: time.Now(), from: from}
		if err := h.Unmarshal(slices.Clone(buf[:n])); err != nil {
			p.t.Errorf("the announcer sent what is no RTP packet: %v", err)
			continue
		}
		p.mu.Lock()
		p.packets = append(p.packets, h)
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
	}
}

func (p *phone) log() []heard {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.packets)
}

// waitRTP waits until n packets have come.
func (p *phone) waitRTP(n int) []heard {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		packets, news := p.packets, p.news
		p.mu.Unlock()
		if len(packets) >= n {
			return slices.Clone(packets)
		}
		select {
		case <-news:
		case <-deadline:
			p.t.Fatalf("%d RTP packets came, want %d", len(packets), n)
		}
	}
}

// flush waits until all packets that were sent before it have been read, by a
// mark that follows them.
func (p *phone) flush() {
	p.t.Helper()
	to := p.rtp.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := p.sip.WriteToUDPAddrPort([]byte("mark"), to); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.flushed:
	case <-time.After(patience):
		p.t.Fatal("the mark did not come")
	}
}

// silentFor reports how many packets are sent within a while from now.
func (p *phone) silentFor(d time.Duration) int {
	p.t.Helper()
	p.flush()
	before := len(p.log())
	<-time.After(d)
	return len(p.log()) - before
}

func (p *phone) send(msg string) {
	p.t.Helper()
	p.raw([]byte(strings.ReplaceAll(msg, "\n", "\r\n")))
}

func (p *phone) raw(datagram []byte) {
	p.t.Helper()
	if _, err := p.sip.WriteToUDPAddrPort(datagram, p.server); err != nil {
		p.t.Fatal(err)
	}
}

// receive returns the next message.
func (p *phone) receive() sip.Message {
	p.t.Helper()
	select {
	case msg := <-p.inbox:
		return msg
	case <-time.After(patience):
		p.t.Fatal("no SIP message came")
		return nil
	}
}

// nothing checks that no message comes within a while.
func (p *phone) nothing(d time.Duration) {
	p.t.Helper()
	select {
	case msg := <-p.inbox:
		p.t.Fatalf("unexpected message:\n%s", msg)
	case <-time.After(d):
	}
}

// dialling is one INVITE and what belongs to it.
type dialling struct {
	*phone
	uri, callID, fromTag, branch, extra, sdp string
}

// invite sends an INVITE. Extra are further header lines.
func (p *phone) invite(uri, sdp string, extra ...string) *dialling {
	p.t.Helper()
	d := &dialling{
		phone: p, uri: uri, sdp: sdp,
		callID: fmt.Sprintf("%d@phone.test", rand.Uint64()), fromTag: fmt.Sprintf("%x", rand.Uint32()),
		branch: fmt.Sprintf("z9hG4bK%x", rand.Uint64()),
	}
	for _, e := range extra {
		d.extra += e + "\n"
	}
	d.sendInvite()
	return d
}

func (d *dialling) sendInvite() {
	d.t.Helper()
	body, kind := "", ""
	if d.sdp != "" {
		body = strings.ReplaceAll(d.sdp, "\n", "\r\n")
		kind = "Content-Type: application/sdp\n"
	}
	d.send(d.head("INVITE", d.uri, d.branch, "", 1) + d.extra + kind + fmt.Sprintf("Content-Length: %d\n\n", len(body)) + d.sdp)
}

func (d *dialling) head(method, uri, branch, toTag string, cseq int) string {
	if toTag != "" {
		toTag = ";tag=" + toTag
	}
	here := d.sip.LocalAddr()
	contact := ""
	if method == "INVITE" {
		contact = fmt.Sprintf("Contact: <sip:caller@%s>\n", here)
	}
	return fmt.Sprintf("%s %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=%s;rport\nMax-Forwards: 70\nFrom: <sip:caller@phone.test>;tag=%s\n"+
		"To: <sip:+31850835037@phone.test>%s\nCall-ID: %s\nCSeq: %d %s\n%s",
		method, uri, here, branch, d.fromTag, toTag, d.callID, cseq, method, contact)
}

// expect returns the next response, which must have this status and CSeq
// method; 100 Trying is passed over.
func (d *dialling) expect(status int, method sip.RequestMethod) *sip.Response {
	d.t.Helper()
	for {
		msg := d.receive()
		res, ok := msg.(*sip.Response)
		if !ok {
			d.t.Fatalf("want a %d to %s, got a request:\n%s", status, method, msg)
		}
		if res.StatusCode == 100 && status != 100 {
			continue
		}
		if res.StatusCode != status || res.CSeq().MethodName != method {
			d.t.Fatalf("want %d to %s, got:\n%s", status, method, res)
		}
		return res
	}
}

func toTag(res *sip.Response) string { return res.To().Params.GetOr("tag", "") }

// ack acknowledges a final response: of a refusal within the transaction, of a
// 2xx as a transaction of its own.
func (d *dialling) ack(res *sip.Response, sdp ...string) {
	d.t.Helper()
	branch, uri := d.branch, d.uri
	if res.IsSuccess() {
		branch, uri = fmt.Sprintf("z9hG4bK%x", rand.Uint64()), res.Contact().Address.String()
	}
	msg := d.head("ACK", uri, branch, toTag(res), 1)
	if len(sdp) > 0 {
		body := strings.ReplaceAll(sdp[0], "\n", "\r\n")
		d.send(msg + fmt.Sprintf("Content-Type: application/sdp\nContent-Length: %d\n\n", len(body)) + sdp[0])
		return
	}
	d.send(msg + "Content-Length: 0\n\n")
}

func (d *dialling) cancel() {
	d.t.Helper()
	d.send(d.head("CANCEL", d.uri, d.branch, "", 1) + "Content-Length: 0\n\n")
}

func (d *dialling) bye(res *sip.Response) {
	d.t.Helper()
	d.send(d.head("BYE", res.Contact().Address.String(), fmt.Sprintf("z9hG4bK%x", rand.Uint64()), toTag(res), 2) + "Content-Length: 0\n\n")
}

// expectBye waits for the announcer's BYE and answers it.
func (d *dialling) expectBye() *sip.Request {
	d.t.Helper()
	req, ok := d.receive().(*sip.Request)
	if !ok || req.Method != sip.BYE {
		d.t.Fatalf("want a BYE, got:\n%s", req)
	}
	d.send(strings.ReplaceAll(sip.NewResponseFromRequest(req, 200, "OK", nil).String(), "\r\n", "\n"))
	return req
}

// other sends a request outside any dialog and returns the response.
func (p *phone) other(method, uri string, extra ...string) *sip.Response {
	p.t.Helper()
	d := &dialling{phone: p, callID: fmt.Sprintf("%d@phone.test", rand.Uint64()), fromTag: "t"}
	msg := d.head(method, uri, fmt.Sprintf("z9hG4bK%x", rand.Uint64()), "", 1)
	for _, e := range extra {
		msg += e + "\n"
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		p.send(msg + "Content-Length: 0\n\n")
		select {
		case m := <-p.inbox:
			if res, ok := m.(*sip.Response); ok {
				return res
			}
			p.t.Fatalf("got a request\n%s", m)
		case <-time.After(sip.T1): // a datagram may be lost
		}
	}
	p.t.Fatalf("no reply to %s", method)
	return nil
}

// sdpOffer is an ordinary offer with the phone's RTP address; lines may replace
// its media description.
func (p *phone) sdpOffer(media ...string) string {
	m := fmt.Sprintf("m=audio %d RTP/AVP 8 0 101\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=sendrecv\n",
		portOf(p.rtp))
	if len(media) > 0 {
		m = strings.ReplaceAll(strings.Join(media, "\n")+"\n", "PORT", fmt.Sprint(portOf(p.rtp)))
	}
	return "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n" + m
}

// decode turns the payloads, put in order, back into sound.
func decode(t testing.TB, packets []heard) []int16 {
	t.Helper()
	if len(packets) == 0 {
		t.Fatal("no packets")
	}
	first := packets[0].SequenceNumber
	ordered := slices.Clone(packets)
	slices.SortFunc(ordered, func(a, b heard) int { return int(a.SequenceNumber-first) - int(b.SequenceNumber-first) })
	var sound []int16
	for _, p := range ordered {
		switch p.PayloadType {
		case 0, 96:
			sound = audio.DecodeULaw(sound, p.Payload)
		case 8:
			sound = audio.DecodeALaw(sound, p.Payload)
		default:
			t.Fatalf("payload type %d", p.PayloadType)
		}
	}
	return sound
}
