package kamailio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// state of a dialog, as Kamailio numbers it (README of its dialog module, 3).
type state int

const (
	unconfirmed state = 1 + iota
	early
	confirmedNoACK
	confirmed
	deleted
)

// dialog is one element of dlg.list, of which much more is left out. Kamailio
// prints the unsigned h_entry and h_id as signed numbers, and reads them back so.
type dialog struct {
	Entry     *int64              `json:"h_entry"`
	ID        *int64              `json:"h_id"`
	CallID    string              `json:"call-id"`
	State     state               `json:"state"`
	Caller    party               `json:"caller"`
	Callee    party               `json:"callee"`
	Variables []map[string]string `json:"variables"`
}

type party struct {
	Tag  string `json:"tag"`
	CSeq string `json:"cseq"`
}

// check tells what of a dialog is missing.
func (d *dialog) check() error {
	switch {
	case d.CallID == "":
		return errors.New("call-id is missing")
	case d.Entry == nil || d.ID == nil:
		return errors.New("h_entry or h_id is missing")
	case d.State < unconfirmed || d.State > deleted:
		return fmt.Errorf("state %d is none", d.State)
	}
	return nil
}

// ringing tells whether the call is not answered yet.
func (d *dialog) ringing() bool { return d.State < confirmedNoACK }

// talks tells whether this dialog has the leg of a direction; one that says
// nothing of its legs may have either.
func (d *dialog) talks(dir tariff.Direction) bool {
	said := false
	for _, v := range d.Variables {
		for name := range v {
			if leg, err := tariff.ParseDirection(name); err == nil {
				if leg == dir {
					return true
				}
				said = true
			}
		}
	}
	return !said
}

// keys are the legs that the dialogs of a listing are.
func keys(switchName string, dialogs []dialog) []authz.Key {
	out := make([]authz.Key, 0, len(dialogs))
	for i := range dialogs {
		d := &dialogs[i]
		if d.State == deleted {
			continue
		}
		for _, dir := range []tariff.Direction{authz.Outbound, authz.Inbound} {
			if d.talks(dir) {
				out = append(out, authz.Key{Switch: switchName, Direction: dir, CallID: d.CallID})
			}
		}
	}
	return out
}

// parseDialogs reads the result of dlg.list, an array, or of dlg.dlg_list, which
// is a dialog or, where there is none, {}. Every element must be whole.
func parseDialogs(result json.RawMessage) ([]dialog, error) {
	result = bytes.TrimSpace(result)
	if len(result) == 0 {
		return nil, errors.New("no result")
	}
	var all []dialog
	if result[0] == '[' {
		if err := json.Unmarshal(result, &all); err != nil {
			return nil, err
		}
	} else {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(result, &fields); err != nil {
			return nil, err
		}
		if fields == nil {
			return nil, errors.New("result is null")
		}
		if len(fields) == 0 {
			return nil, nil
		}
		var one dialog
		if err := json.Unmarshal(result, &one); err != nil {
			return nil, err
		}
		all = []dialog{one}
	}
	for i := range all {
		if err := all[i].check(); err != nil {
			return nil, fmt.Errorf("dialog %d: %w", i, err)
		}
	}
	return all, nil
}

// rpcError is an error that Kamailio answered.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%d %.200s", e.Code, e.Message) }

// parseAnswer takes the result out of a JSON-RPC 2.0 answer. Errors: *rpcError.
func parseAnswer(r io.Reader) (json.RawMessage, error) {
	var a struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	d := json.NewDecoder(r)
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("answer goes on after its end")
	}
	switch {
	case a.Error != nil:
		return nil, a.Error
	case a.Result == nil:
		return nil, errors.New("answer has neither result nor error")
	}
	return a.Result, nil
}
