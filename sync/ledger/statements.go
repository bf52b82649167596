package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// statements are the ledger's, in the dialect of a driver. Each field holds the block of the same name in snake case;
// an area may have its own struct of them, embedded here.
type statements struct {
	RevisionNext, Revision string

	AccountInsert, AccountUpdate, Account, AccountLocked, Accounts, AccountsChanged             string
	NumberInsert, NumberRename, NumberRemove, Number, Numbers, NumbersOfAccount, NumbersChanged string
	KeyInsert, Key, KeyByHash, Keys, KeysOfAccount, KeysChanged, KeyRevoke, KeyExpire, KeyTouch string
	TariffInsert, TariffVersion, TariffLatest, TariffsLatest, TariffsChanged                    string
	SumsInsert, Sums, SumsPage, SumsLocked, SumsGrant, SumsMove, SumsDrop, SumsMask, HourMove   string
	GrantInsert, GrantByReference, GrantsAfter, GrantsNewest, GrantsBetween, GrantedBefore      string
	CallsKnown, CallPut, Call, CallsById, CallsAfterSeq, CallsPage, CallsNext                   string
	UsageSum, HoursBetween, HourOfOffset                                                        string
	RefusedPut, Refused, RefusedLocked, RefusedAfter, RefusedCount, RefusedDelete               string
	OldCalls, CallsDelete, CallMask, CheckGrants, CheckCalls, CheckHours                        string

	shopStatements
	billingStatements
	usageStatements
	noticeStatements
	sessionStatements
	identityStatements
}

const (
	blockPrefix  = "-- name: "
	includeBegin = "/*="
	includeEnd   = "*/"
)

// loadStatements reads the .sql files of a driver. Errors name every statement that is missing,
// given twice or not used.
func loadStatements(files fs.FS) (*statements, error) {
	blocks := make(map[string]string)
	var errs []error
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".sql") {
			return err
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		errs = append(errs, splitBlocks(path, string(text), blocks)...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the ledger's statements: %w", err)
	}

	var s statements
	used := make(map[string]bool)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[statements]()) {
		if field.Anonymous {
			continue
		}
		text, err := expand(blocks, snake(field.Name), used, nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		reflect.ValueOf(&s).Elem().FieldByIndex(field.Index).SetString(text)
	}
	for _, name := range sortedKeys(blocks) {
		if !used[name] {
			errs = append(errs, fmt.Errorf("%q is not used", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("the ledger's statements: %w", err)
	}
	return &s, nil
}

// splitBlocks adds the blocks of one file. Lines that are comments are left out.
func splitBlocks(path, text string, blocks map[string]string) (errs []error) {
	name := ""
	for line := range strings.Lines(text) {
		if named, ok := strings.CutPrefix(line, blockPrefix); ok {
			name = strings.TrimSpace(named)
			if _, twice := blocks[name]; twice {
				errs = append(errs, fmt.Errorf("%s: %q is given twice", path, name))
			}
			blocks[name] = ""
			continue
		}
		if strings.HasPrefix(line, "--") || strings.TrimSpace(line) == "" {
			continue
		}
		if name == "" {
			return append(errs, fmt.Errorf("%s: a statement without a name", path))
		}
		blocks[name] += line
	}
	return errs
}

// expand returns a block with its includes replaced, and notes which blocks were used.
func expand(blocks map[string]string, name string, used map[string]bool, within []string) (string, error) {
	text, ok := blocks[name]
	if !ok {
		return "", fmt.Errorf("%q is missing", name)
	}
	used[name] = true
	if slices.Contains(within, name) {
		return "", fmt.Errorf("%q includes itself", name)
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, includeBegin)
		out.WriteString(before)
		if !found {
			return strings.TrimSpace(out.String()), nil
		}
		included, after, closed := strings.Cut(rest, includeEnd)
		if !closed {
			return "", fmt.Errorf("%q has an include without an end", name)
		}
		part, err := expand(blocks, included, used, append(within, name))
		if err != nil {
			return "", fmt.Errorf("in %q: %w", name, err)
		}
		out.WriteString(part)
		text = after
	}
}

// snake turns CallsById into calls_by_id.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
