package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Stream asks for an answer that comes bit by bit, however long it takes, and
// copies it to w. Errors are those of Do.
func (c *Client) Stream(ctx context.Context, method, path string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/admin/v1/"+path, nil)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := (&http.Client{Transport: c.http.Transport}).Do(req)
	if err != nil {
		return c.unreached(ctx, method, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
		return c.refused(resp, answer)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", c.shown, err)
	}
	return nil
}
