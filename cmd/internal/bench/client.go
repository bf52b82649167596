package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// hookClient is one keep-alive connection to the hook listener. It writes and
// reads the little HTTP it needs itself, so that the load generator costs less
// than what it measures.
type hookClient struct {
	conn net.Conn
	r    *bufio.Reader
	buf  []byte
	head string
}

// dialHook connects to http://host:port or unix:///path.
func dialHook(ctx context.Context, target, token string) (*hookClient, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("hook address %q: %w", target, err)
	}
	network, addr, host := "tcp", u.Host, u.Host
	if u.Scheme == "unix" {
		network, addr, host = "unix", u.Path, "ringfence"
	}
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the sidecar's hook listener: %w (is `ringfence serve` running there?)", err)
	}
	head := " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n"
	if token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	return &hookClient{conn: conn, r: bufio.NewReaderSize(conn, 4096), head: head + "Content-Length: "}, nil
}

func (c *hookClient) close() { _ = c.conn.Close() }

// post sends a body and gives the status; the answer's body is read and dropped
// but for its first bytes.
func (c *hookClient) post(path string, body []byte) (status int, answer []byte, err error) {
	b := append(c.buf[:0], "POST "...)
	b = append(b, path...)
	b = append(b, c.head...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, body...)
	c.buf = b
	if err := c.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(b); err != nil {
		return 0, nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, nil, fmt.Errorf("not an HTTP answer: %.60q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("not an HTTP status: %.60q", line)
	}
	length := -1
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && len(k) == 14 && strings.EqualFold(string(k), "Content-Length") {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, fmt.Errorf("answer of status %d has no Content-Length", status)
	}
	peek := min(length, 512)
	head, err := c.r.Peek(peek)
	if err != nil {
		return 0, nil, err
	}
	answer = append([]byte(nil), head[:min(peek, 160)]...)
	_, err = c.r.Discard(length)
	return status, answer, err
}

// scrape reads one value of the sidecar's own metrics.
func scrape(ctx context.Context, ops, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read the sidecar's metrics: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("the sidecar has no metric %s", name)
}
