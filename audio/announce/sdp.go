package announce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/sdp/v3"

	"github.com/hmsovereign/ringfence/audio"
)

// Why a session description is of no use. Each leads to the final reply at
// once: the caller's phone cannot play the prompt, but can show the reply.
var (
	errNoOffer   = errors.New("no session description")
	errMalformed = errors.New("malformed session description")
	errNoAudio   = errors.New("no audio offered")
	errEncrypted = errors.New("only encrypted audio (SRTP) offered")
	errNoCodec   = errors.New("neither PCMU nor PCMA in 20 ms packets offered")
	errHeld      = errors.New("the caller's end is on hold and hears nothing")
	errAddress   = errors.New("no usable media address")

	errContent = errors.New("the body is no application/sdp") // 415, unlike the others
)

// codec is one of the two G.711 companding laws.
type codec struct {
	name     string // of the rtpmap
	payload  uint8  // static payload type (RFC 3551)
	encoding audio.Encoding
	silence  byte
}

var (
	pcmu = &codec{"PCMU", 0, audio.ULaw, 0xFF}
	pcma = &codec{"PCMA", 8, audio.ALaw, 0xD5}
)

// description is the peer's session description, and what of it is used.
type description struct {
	sdp      sdp.SessionDescription
	media    [][]string // the fields of every media line, as the peer wrote them
	index    int        // of the media line that is used
	codec    *codec
	payload  uint8 // the peer's number for the codec
	remote   netip.AddrPort
	sendrecv bool // false: the peer only receives
}

// sdpBody finds the session description in a request, which may be one part of
// several (RFC 5621). It returns nil when there is no body.
func sdpBody(req *sip.Request) ([]byte, error) {
	body := req.Body()
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	if e := headerValue(req, "Content-Encoding", "e"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, fmt.Errorf("%w: Content-Encoding %s", errContent, e)
	}
	kind, params, err := mime.ParseMediaType(headerValue(req, "Content-Type", "c"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errContent, err)
	case kind == "application/sdp":
		return body, nil
	case !strings.HasPrefix(kind, "multipart/"):
		return nil, fmt.Errorf("%w: %s", errContent, kind)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, nil // other parts only: an INVITE without an offer
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errContent, err)
		}
		if kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type")); err != nil || kind != "application/sdp" {
			continue
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errContent, err)
		}
		return text, nil
	}
}

// parseDescription reads a session description (RFC 8866) and chooses the first
// audio that G.711 can be sent to.
func parseDescription(body []byte) (*description, error) {
	if len(body) == 0 {
		return nil, errNoOffer
	}
	d := &description{}
	text, media := simplify(string(body))
	if text == "" {
		return nil, errMalformed
	}
	if err := d.sdp.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if len(media) != len(d.sdp.MediaDescriptions) {
		return nil, errMalformed
	}
	d.media = media
	problem := errNoAudio
	for i, m := range d.sdp.MediaDescriptions {
		if m.MediaName.Media != "audio" || m.MediaName.Port.Value == 0 {
			continue
		}
		err := d.use(m)
		if err == nil {
			d.index = i
			return d, nil
		}
		if errors.Is(problem, errNoAudio) {
			problem = err // of the first audio: the one the caller means
		}
	}
	return nil, problem
}

// simplify leaves of a session description what is needed here, in a form the
// library takes. It refuses the whole for one media line of a kind it does not
// know, and fax gateways offer such ("image 4000 udptl t38") beside audio; and
// for an origin, bandwidth or key that is not quite right. Media it does not
// know become refused ones; the fields of all, as written, are returned beside.
func simplify(body string) (text string, media [][]string) {
	var b strings.Builder
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 2 || line[1] != '=' {
			continue
		}
		switch line[0] {
		case 'o':
			line = "o=- 0 0 IN IP4 0.0.0.0"
		case 'm':
			fields := strings.Fields(line[2:])
			if len(fields) < 4 {
				return "", nil // no text: malformed
			}
			media = append(media, fields)
			if proto := strings.ToUpper(fields[2]); fields[0] == "audio" && slices.Contains(rtpProtos, proto) {
				line = fmt.Sprintf("m=audio %s %s %s", fields[1], proto, strings.Join(fields[3:], " "))
			} else {
				line = "m=application 0 UDP x"
			}
		case 'v', 's', 'c', 't', 'a':
		default:
			continue
		}
		b.WriteString(line + "\r\n")
	}
	return b.String(), media
}

// rtpProtos are the transports of audio that mean something here.
var rtpProtos = []string{"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"}

// use takes one media line, or says why not.
func (d *description) use(m *sdp.MediaDescription) error {
	if slices.Contains(m.MediaName.Protos, "SAVP") || slices.Contains(m.MediaName.Protos, "SAVPF") {
		return errEncrypted
	}
	switch direction(&d.sdp, m) {
	case "sendonly", "inactive":
		return errHeld
	case "recvonly":
		d.sendrecv = false
	default:
		d.sendrecv = true
	}
	var err error
	if d.remote, err = remoteAddr(&d.sdp, m); err != nil {
		return err
	}
	if longest, ok := m.Attribute("maxptime"); ok {
		if ms, err := strconv.Atoi(longest); err == nil && ms < 20 {
			return errNoCodec
		}
	}
	for _, f := range m.MediaName.Formats { // in the order of the peer's preference
		n, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			continue
		}
		if c := codecOf(m, f); c != nil {
			d.codec, d.payload = c, uint8(n)
			return nil
		}
	}
	return errNoCodec
}

// codecOf is the codec behind a payload type: by its rtpmap, or as RFC 3551
// assigns it.
func codecOf(m *sdp.MediaDescription, payload string) *codec {
	for _, a := range m.Attributes {
		number, encoding, ok := strings.Cut(a.Value, " ")
		if a.Key != "rtpmap" || !ok || number != payload {
			continue
		}
		switch strings.ToUpper(strings.TrimSuffix(strings.TrimSpace(encoding), "/1")) {
		case "PCMU/8000":
			return pcmu
		case "PCMA/8000":
			return pcma
		}
		return nil
	}
	switch payload {
	case "0":
		return pcmu
	case "8":
		return pcma
	}
	return nil
}

var directions = []string{"sendrecv", "recvonly", "sendonly", "inactive"}

func direction(s *sdp.SessionDescription, m *sdp.MediaDescription) string {
	for _, attributes := range [][]sdp.Attribute{m.Attributes, s.Attributes} {
		for _, a := range attributes {
			if slices.Contains(directions, a.Key) {
				return a.Key
			}
		}
	}
	return "sendrecv"
}

// remoteAddr is where the peer wants its media. Names are not resolved: a
// caller must not make this process ask a name server.
func remoteAddr(s *sdp.SessionDescription, m *sdp.MediaDescription) (netip.AddrPort, error) {
	c := m.ConnectionInformation
	if c == nil {
		c = s.ConnectionInformation
	}
	if c == nil || c.Address == nil || c.NetworkType != "IN" {
		return netip.AddrPort{}, fmt.Errorf("%w: no c= line", errAddress)
	}
	a, err := netip.ParseAddr(c.Address.Address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errAddress, err)
	}
	a = a.Unmap()
	switch {
	case a.IsUnspecified():
		return netip.AddrPort{}, errHeld // hold as RFC 2543 did it
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Zone() != "":
		return netip.AddrPort{}, fmt.Errorf("%w: %v", errAddress, a)
	}
	// Ports below 1024 belong to services, never to a phone's media.
	port := m.MediaName.Port.Value
	if port < 1024 || port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("%w: port %d", errAddress, port)
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

// answer is the session description that accepts the chosen audio at the local
// address, and refuses all other media (RFC 3264, 6).
func (d *description) answer(local netip.AddrPort) ([]byte, error) {
	s := newDescription(local)
	s.TimeDescriptions = d.sdp.TimeDescriptions
	for i, m := range d.sdp.MediaDescriptions {
		if i == d.index {
			s.MediaDescriptions = append(s.MediaDescriptions,
				audioLine(m.MediaName.Protos, local, d.sendrecv, numbered{d.payload, d.codec}))
			continue
		}
		fields := d.media[i]
		s.MediaDescriptions = append(s.MediaDescriptions, &sdp.MediaDescription{MediaName: sdp.MediaName{
			Media: fields[0], Protos: fields[2:3], Formats: fields[3:], // the port is 0
		}})
	}
	return s.Marshal()
}

// offer is the session description for a peer that sent none.
func offer(local netip.AddrPort) ([]byte, error) {
	s := newDescription(local)
	s.TimeDescriptions = []sdp.TimeDescription{{}}
	s.MediaDescriptions = []*sdp.MediaDescription{
		audioLine([]string{"RTP", "AVP"}, local, true, numbered{pcma.payload, pcma}, numbered{pcmu.payload, pcmu}),
	}
	return s.Marshal()
}

func newDescription(local netip.AddrPort) *sdp.SessionDescription {
	family := "IP4"
	if local.Addr().Is6() {
		family = "IP6"
	}
	address := local.Addr().String()
	id := rand.Uint64() >> 2 // RFC 3264: the number must fit a signed 64-bit integer, with room to count
	return &sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: id, SessionVersion: id,
			NetworkType: "IN", AddressType: family, UnicastAddress: address,
		},
		SessionName: "ringfence",
		ConnectionInformation: &sdp.ConnectionInformation{
			NetworkType: "IN", AddressType: family, Address: &sdp.Address{Address: address},
		},
	}
}

// numbered is a codec under the payload type of one session.
type numbered struct {
	payload uint8
	*codec
}

// audioLine says sendrecv to a peer that did, although nobody listens here: to
// sendonly many phones react with music on hold or a mute loudspeaker, and send
// no packet that would show their address.
func audioLine(protos []string, local netip.AddrPort, sendrecv bool, codecs ...numbered) *sdp.MediaDescription {
	m := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "audio", Port: sdp.RangedPort{Value: int(local.Port())}, Protos: protos,
	}}
	for _, c := range codecs {
		number := strconv.Itoa(int(c.payload))
		m.MediaName.Formats = append(m.MediaName.Formats, number)
		m.Attributes = append(m.Attributes, sdp.NewAttribute("rtpmap", number+" "+c.name+"/8000"))
	}
	m.Attributes = append(m.Attributes, sdp.NewAttribute("ptime", "20"))
	if sendrecv {
		m.Attributes = append(m.Attributes, sdp.NewPropertyAttribute("sendrecv"))
	} else {
		m.Attributes = append(m.Attributes, sdp.NewPropertyAttribute("sendonly"))
	}
	return m
}
