package services

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"testing"
)

// Ports are taken from below the kernel's range for outgoing connections (32768 and up by default), so that no
// client's own port can occupy one while its server is down between Kill and Start.
const (
	firstPort = 15000
	lastPort  = 31999
)

// FreePort returns a port of 127.0.0.1 that nothing uses, over TCP or UDP, and keeps it reserved until the test ends:
// no other FreePort of this or another test binary on the machine returns it meanwhile.
func FreePort(t testing.TB) int {
	t.Helper()
	port, release, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}

// reservePort finds a free port and reserves it until release is called or the process ends.
func reservePort() (port int, release func(), err error) {
	for range 1000 {
		port = firstPort + rand.IntN(lastPort-firstPort+1)
		release, ok := claimPort(port)
		if !ok {
			continue
		}
		if free(port) {
			return port, release, nil
		}
		release()
	}
	return 0, nil, fmt.Errorf("no free port between %d and %d on 127.0.0.1", firstPort, lastPort)
}

// claimPort takes the machine-wide name that stands for the port among test binaries. It is a Unix socket in Linux's
// abstract name space: no file to leave behind, and gone with the process. Elsewhere there is no such thing, and two
// binaries may rarely choose one port.
func claimPort(port int) (release func(), ok bool) {
	if runtime.GOOS != "linux" {
		return func() {}, true
	}
	claim, err := net.Listen("unix", fmt.Sprintf("@ringfence-test-port-%d", port))
	if err != nil {
		return nil, false
	}
	return func() { _ = claim.Close() }, true
}

// free tells whether the port can be listened on, over TCP and UDP.
func free(port int) bool {
	address := loopback(port)
	tcp, errTCP := net.Listen("tcp", address)
	if errTCP == nil {
		errTCP = tcp.Close()
	}
	udp, errUDP := net.ListenPacket("udp", address)
	if errUDP == nil {
		errUDP = udp.Close()
	}
	return errors.Join(errTCP, errUDP) == nil
}

// loopback is the address of a port on 127.0.0.1.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
