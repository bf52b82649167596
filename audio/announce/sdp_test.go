package announce

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"
)

const sdpHead = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"

func TestParseDescription(t *testing.T) {
	for _, tc := range []struct {
		name, sdp string
		payload   uint8
		codec     *codec
		remote    string
		err       error
	}{
		{"plain", sdpHead + "m=audio 4000 RTP/AVP 0\r\n", 0, pcmu, "192.0.2.1:4000", nil},
		{"preference", sdpHead + "m=audio 4000 RTP/AVP 18 8 0\r\n", 8, pcma, "192.0.2.1:4000", nil},
		{"dynamic", sdpHead + "m=audio 4000 RTP/AVP 100\r\na=rtpmap:100 PCMA/8000/1\r\n", 100, pcma, "192.0.2.1:4000", nil},
		{"stereo", sdpHead + "m=audio 4000 RTP/AVP 100\r\na=rtpmap:100 PCMA/8000/2\r\n", 0, nil, "", errNoCodec},
		{"other rate", sdpHead + "m=audio 4000 RTP/AVP 100\r\na=rtpmap:100 PCMU/16000\r\n", 0, nil, "", errNoCodec},
		{"own address", sdpHead + "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n", 0, pcmu, "192.0.2.9:4000", nil},
		{"IPv6", strings.ReplaceAll(sdpHead, "IP4 192.0.2.1", "IP6 2001:db8::1") + "m=audio 4000 RTP/AVP 0\r\n", 0, pcmu, "[2001:db8::1]:4000", nil},
		{"line ends of Unix", strings.ReplaceAll(sdpHead+"m=audio 4000 RTP/AVP 0\r\n", "\r\n", "\n"), 0, pcmu, "192.0.2.1:4000", nil},
		{"odd origin", strings.Replace(sdpHead, "- 1 1 IN", "user -5 99999999999999999999999 XX", 1) + "m=audio 4000 RTP/AVP 0\r\n", 0, pcmu, "192.0.2.1:4000", nil},
		{"odd lines", strings.Replace(sdpHead, "t=", "b=what\r\nk=\r\nnonsense\r\nt=", 1) + "m=audio 4000 RTP/AVP 0\r\nb=AS\r\n", 0, pcmu, "192.0.2.1:4000", nil},
		{"fax beside", sdpHead + "m=image 4002 udptl t38\r\nm=audio 4000 rtp/avp 0\r\n", 0, pcmu, "192.0.2.1:4000", nil},
		{"held session", sdpHead + "a=sendonly\r\nm=audio 4000 RTP/AVP 0\r\n", 0, nil, "", errHeld},
		{"media overrides the session", sdpHead + "a=sendonly\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n", 0, pcmu, "192.0.2.1:4000", nil},
		{"secure first, plain second", sdpHead + "m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 0\r\n", 0, pcmu, "192.0.2.1:4002", nil},
		{"secure only", sdpHead + "m=audio 4000 RTP/SAVP 0\r\nm=video 4002 RTP/AVP 31\r\n", 0, nil, "", errEncrypted},
		{"strange transport", sdpHead + "m=audio 4000 TCP/RTP/AVP 0\r\n", 0, nil, "", errNoAudio},
		{"no media", sdpHead, 0, nil, "", errNoAudio},
		{"no address", strings.Replace(sdpHead, "c=IN IP4 192.0.2.1\r\n", "", 1) + "m=audio 4000 RTP/AVP 0\r\n", 0, nil, "", errAddress},
		{"unspecified v6", strings.ReplaceAll(sdpHead, "IP4 192.0.2.1", "IP6 ::") + "m=audio 4000 RTP/AVP 0\r\n", 0, nil, "", errHeld},
		{"mapped unspecified", strings.ReplaceAll(sdpHead, "IP4 192.0.2.1", "IP6 ::ffff:0.0.0.0") + "m=audio 4000 RTP/AVP 0\r\n", 0, nil, "", errHeld},
		{"broadcast", strings.ReplaceAll(sdpHead, "192.0.2.1", "255.255.255.255") + "m=audio 4000 RTP/AVP 0\r\n", 0, nil, "", errAddress},
		{"port out of range", sdpHead + "m=audio 70000 RTP/AVP 0\r\n", 0, nil, "", errMalformed},
		{"payload out of range", sdpHead + "m=audio 4000 RTP/AVP 128\r\na=rtpmap:128 PCMU/8000\r\n", 0, nil, "", errNoCodec},
		{"cut media line", sdpHead + "m=audio 4000\r\n", 0, nil, "", errMalformed},
		{"nothing", "", 0, nil, "", errNoOffer},
		{"noise", "\x00\xff\r\n", 0, nil, "", errMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := parseDescription([]byte(tc.sdp))
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if err != nil {
				return
			}
			if d.codec != tc.codec || d.payload != tc.payload || d.remote.String() != tc.remote {
				t.Errorf("got %s as %d at %v, want %s as %d at %s", d.codec.name, d.payload, d.remote, tc.codec.name, tc.payload, tc.remote)
			}
		})
	}
}

// Whatever a peer sends is either refused or answered as RFC 3264 asks: one
// line for each of its own, one of them open.
func FuzzSessionDescription(f *testing.F) {
	for _, s := range []string{
		sdpHead + "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n",
		sdpHead + "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
		sdpHead + "m=image 4002 udptl t38\r\nm=audio 4000 RTP/AVPF 96\r\na=rtpmap:96 PCMU/8000\r\na=recvonly\r\nm=text 4 x y\r\n",
		"v=0\no=x\ns=\nc=IN IP6 ::1\nt=1 2\nm=audio 1024/2 RTP/AVP 0\na=maxptime:20\n",
		"m=audio 0 RTP/AVP 0\r\n",
	} {
		f.Add([]byte(s))
	}
	local := netip.MustParseAddrPort("192.0.2.5:61000")
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDescription(body)
		if err != nil {
			return
		}
		a := d.remote.Addr()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || d.remote.Port() < 1024 || d.payload > 127 || d.codec == nil {
			t.Fatalf("would send %v as %d to %v", d.codec, d.payload, d.remote)
		}
		answer, err := d.answer(local)
		if err != nil {
			return // refused with the final reply
		}
		lines := slices.DeleteFunc(strings.Split(string(answer), "\r\n"), func(l string) bool { return !strings.HasPrefix(l, "m=") })
		if len(lines) != len(d.media) {
			t.Fatalf("%d media lines answer %d:\n%s", len(lines), len(d.media), answer)
		}
		for i, l := range lines {
			fields := strings.Fields(l[2:])
			want := "0"
			if i == d.index {
				want = "61000"
			}
			if len(fields) < 4 || fields[0] != d.media[i][0] || fields[1] != want {
				t.Fatalf("line %d of the answer is %q to %q", i, l, d.media[i])
			}
		}
		own := &sdp.SessionDescription{}
		text, _ := simplify(string(answer))
		if err := own.UnmarshalString(text); err != nil {
			t.Fatalf("the answer cannot be read: %v\n%s", err, answer)
		}
	})
}
