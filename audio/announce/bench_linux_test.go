package announce

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/hmsovereign/ringfence/audio"
)

// The benchmarks measure one core's worth of announcements (GOMAXPROCS 1), with
// the receiver in a process of its own, so that only sending is counted. Each
// runs once for a few seconds, whatever -benchtime says:
//
//	go test -run '^$' -bench . ./audio/announce

const (
	benchWindow = 3 * time.Second
	receiverEnv = "RINGFENCE_BENCH_RECEIVER"
)

func init() {
	if os.Getenv(receiverEnv) != "" {
		if err := receiveForBench(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// received is what the receiver's process reports.
type received struct {
	Streams, Packets, Lost int
	// Jitter is how far packets come from their place in a grid of 20 ms that
	// begins with the stream's earliest one, by the kernel's arrival times, in
	// microseconds: percentiles 50, 99, 99.9 and 100.
	Jitter [4]float64
}

// receiveForBench is the other process: it prints the port it listens on, reads
// RTP until its input ends, and prints a report.
func receiveForBench() error {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := raw.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		const size = 32 << 20
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			_ = conn.SetReadBuffer(size) // as much as the system allows
		}
	}); err != nil || failure != nil {
		return fmt.Errorf("%w %w", err, failure)
	}
	fmt.Println(portOf(conn))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		conn.Close()
	}()
	arrivals := make(map[uint32][][2]int64) // by SSRC: sequence, nanoseconds
	buf, oob := make([]byte, 1500), make([]byte, 128)
	for {
		n, oobn, _, _, err := conn.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			break
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) == 0 || n < headerSize {
			continue
		}
		stamp := int64(binary.NativeEndian.Uint64(messages[0].Data))*1e9 + int64(binary.NativeEndian.Uint64(messages[0].Data[8:]))
		ssrc := binary.BigEndian.Uint32(buf[8:])
		arrivals[ssrc] = append(arrivals[ssrc], [2]int64{int64(binary.BigEndian.Uint32(buf[4:])), stamp})
	}
	return json.NewEncoder(os.Stdout).Encode(summarize(arrivals))
}

func summarize(arrivals map[uint32][][2]int64) received {
	r := received{Streams: len(arrivals)}
	var all []int64
	for _, stream := range arrivals {
		offsets := make([]int64, len(stream))
		first, last := stream[0][0], stream[0][0]
		for i, p := range stream {
			frame := int64(uint32(p[0])-uint32(stream[0][0])) / frameBytes
			first, last = min(first, p[0]), max(last, p[0])
			offsets[i] = p[1] - frame*int64(frameTime)
		}
		earliest := slices.Min(offsets)
		for _, o := range offsets {
			all = append(all, o-earliest)
		}
		r.Packets += len(stream)
		if last-first < 1<<31 {
			r.Lost += int((last-first)/frameBytes) + 1 - len(stream)
		}
	}
	slices.Sort(all)
	for i, q := range []float64{.50, .99, .999, 1} {
		if len(all) > 0 {
			r.Jitter[i] = float64(all[int(q*float64(len(all)-1))]) / 1000
		}
	}
	return r
}

// benchReceiver starts the other process. The returned function ends it.
func benchReceiver(b *testing.B) (netip.AddrPort, func() received) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiverEnv+"=1", "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var port uint16
	if _, err := fmt.Fscan(out, &port); err != nil {
		b.Fatal(err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), func() received {
		in.Close()
		var r received
		if err := json.NewDecoder(out).Decode(&r); err != nil {
			b.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
		return r
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure lets things run for a while and reports CPU for each packet.
func measure(b *testing.B, packets func() float64) {
	<-time.After(500 * time.Millisecond)
	cpu, sent, begin := cpuTime(b), packets(), time.Now()
	<-time.After(benchWindow)
	used, n, took := cpuTime(b)-cpu, packets()-sent, time.Since(begin)
	b.ReportMetric(used.Seconds()*1e6/n, "µs-cpu/packet")
	b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
	b.ReportMetric(n/took.Seconds(), "packets/s")
}

func reportReceived(b *testing.B, r received, streams int) {
	if r.Streams != streams {
		b.Errorf("%d streams came, want %d", r.Streams, streams)
	}
	b.ReportMetric(float64(r.Lost), "lost")
	for i, name := range []string{"p50", "p99", "p99.9", "max"} {
		b.ReportMetric(r.Jitter[i], "µs-jitter-"+name)
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// BenchmarkAnnouncements plays to many callers through the whole server.
func BenchmarkAnnouncements(b *testing.B) {
	for _, callers := range []int{100, 500, 1000, 2000} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			to, finish := benchReceiver(b)
			reg := prometheus.NewRegistry()
			s, err := New(Config{Listen: "127.0.0.1:0", MaxConcurrent: callers, PortMin: 57000, PortMax: 64999}, lib, discard, NewMetrics(reg))
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Start(); err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			h := &harness{Server: s, t: b, reg: reg}
			p := newPhone(b, s.Addr())
			sdp := p.sdpOffer(fmt.Sprintf("m=audio %d RTP/AVP 8", to.Port()))
			begin := cpuTime(b)
			for range callers {
				p.invite(longPrompt, sdp).expect(183, sip.INVITE)
			}
			b.ReportMetric((cpuTime(b)-begin).Seconds()*1e6/float64(callers), "µs-cpu/call")
			measure(b, func() float64 { return h.value("ringfence_announcer_rtp_packets_total") })
			p.sip.Close()
			s.Close()
			reportReceived(b, finish(), callers)
		})
	}
}

// BenchmarkPacing compares one pacer for all streams with a goroutine and a
// ticker for each.
func BenchmarkPacing(b *testing.B) {
	const streams = 1000
	for _, way := range []string{"pacer", "ticker-each"} {
		b.Run(way, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			to, finish := benchReceiver(b)
			m := NewMetrics(prometheus.NewRegistry())
			p := newPacer(m)
			ctx, stop := context.WithCancel(context.Background())
			var workers sync.WaitGroup
			if way == "pacer" {
				workers.Go(func() { p.run(ctx) })
			}
			clip, _ := lib.Find(audio.TooManyCalls, "", "")
			all := make([]*stream, streams)
			for i := range all {
				s := newStream(loopback(b), m)
				s.play(clip.Bytes(audio.ALaw), &description{codec: pcma, payload: 8, remote: to})
				all[i] = s
				if way == "pacer" {
					p.add(s)
					continue
				}
				workers.Go(func() {
					ticker := time.NewTicker(frameTime)
					defer ticker.Stop()
					for range ticker.C {
						if !s.frame() {
							return
						}
					}
				})
			}
			measure(b, func() float64 {
				n := 0
				for _, s := range all {
					sent, _ := s.outcome()
					n += sent
				}
				return float64(n)
			})
			for _, s := range all {
				s.stop()
			}
			stop()
			workers.Wait()
			reportReceived(b, finish(), streams)
		})
	}
}
