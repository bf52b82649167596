package config

import (
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// SQLitePath is the file of the embedded ledger, and whether the ledger is an
// embedded one at all: ringfence.db in the data directory, unless ledger.url
// says sqlite:///another/path.
func (c *Config) SQLitePath() (string, bool) {
	if c.Ledger.URL == "" {
		return filepath.Join(c.DataDir, "ringfence.db"), true
	}
	u, err := url.Parse(string(c.Ledger.URL))
	if err != nil || u.Scheme != "sqlite" {
		return "", false
	}
	return u.Path, true
}

// badURL is what is wrong with a URL, without quoting it.
type badURL struct{ problem, remedy string }

const (
	redisForms = "write redis://host:6379/0, rediss://host:6379, unix:///path/to/redis.sock, " +
		"redis+sentinel://host:26379,host:26379/master?db=0 or redis+cluster://host:6379,host:6379"
	ledgerForms  = "write postgres://user:password@host:5432/database or sqlite:///path/to/file.db"
	encodeRemedy = "percent-encode what is special in its user, password or path"
)

// storeURL takes a URL apart. The errors of net/url are not passed on: they
// quote what may be a password.
func storeURL(raw string, schemes []string, forms string) (*url.URL, url.Values, *badURL) {
	scheme, rest, found := strings.Cut(raw, "://")
	if !found || !slices.Contains(schemes, scheme) {
		return nil, nil, &badURL{"is not a URL of the kinds that work", forms}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Fragment != "" {
		return nil, nil, &badURL{"is not a valid URL", encodeRemedy}
	}
	// An @ further on is most likely that of a password with a / or ? in it.
	if i := strings.IndexAny(rest, "/?"); i >= 0 && strings.ContainsRune(rest[i:], '@') {
		return nil, nil, &badURL{"has an @ after the host", encodeRemedy}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, &badURL{"has a query that cannot be read", encodeRemedy}
	}
	return u, query, nil
}

// redisURL says what is wrong with redis.url, or who it says the user is.
func redisURL(raw string) (*url.Userinfo, *badURL) {
	u, query, bad := storeURL(raw, []string{"redis", "rediss", "unix", "redis+sentinel", "redis+cluster"}, redisForms)
	if bad != nil {
		return nil, bad
	}
	path := strings.Trim(u.Path, "/")
	db := query.Get("db")
	for name := range query {
		if name != "db" {
			return nil, &badURL{"has the query parameter " + strconv.Quote(shorten(name)), "remove it; only db is known"}
		}
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || path == "" {
			return nil, &badURL{"has no absolute path of a socket", "write unix:///path/to/redis.sock, with three slashes"}
		}
	case "redis", "rediss":
		if strings.Contains(u.Host, ",") {
			return nil, &badURL{"names several hosts", "write redis+sentinel:// or redis+cluster://"}
		}
		if db != "" && path != "" {
			return nil, &badURL{"names the database twice", "write it like redis://host:6379/0"}
		}
		db += path
		if bad := hosts(u.Host, "6379", false); bad != nil {
			return nil, bad
		}
	case "redis+sentinel":
		if bad := hosts(u.Host, "26379", true); bad != nil {
			return nil, bad
		}
		if path == "" || strings.Contains(path, "/") {
			return nil, &badURL{"does not name the master", "write redis+sentinel://host:26379,host:26379/master?db=0"}
		}
	case "redis+cluster":
		if bad := hosts(u.Host, "6379", true); bad != nil {
			return nil, bad
		}
		if db += path; db != "" && db != "0" {
			return nil, &badURL{"names a database, but Redis Cluster has only 0", "remove it"}
		}
	}
	if _, err := strconv.ParseUint(db, 10, 16); err != nil && db != "" {
		return nil, &badURL{"has a database that is not a number", "write it like redis://host:6379/0, with Sentinel and sockets ?db=0"}
	}
	return u.User, nil
}

// ledgerURL says what is wrong with ledger.url.
func ledgerURL(raw string) *badURL {
	u, query, bad := storeURL(raw, []string{"postgres", "postgresql", "sqlite"}, ledgerForms)
	switch {
	case bad != nil:
		return bad
	case u.Scheme == "sqlite":
		if u.Host != "" || u.User != nil || u.RawQuery != "" || u.Path == "" || strings.HasSuffix(u.Path, "/") {
			return &badURL{"does not hold just the absolute path of a file", "write sqlite:///path/to/file.db, with three slashes"}
		}
		return nil
	case u.Host == "" && query.Has("host"): // the folder of a socket
		return nil
	}
	return hosts(u.Host, "5432", false)
}

// hosts checks host:port,host:port.
func hosts(list, port string, portNeeded bool) *badURL {
	for h := range strings.SplitSeq(list, ",") {
		host, p, err := net.SplitHostPort(h)
		if err != nil && !portNeeded && !strings.HasSuffix(h, ":") {
			host, p = strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"), port
		}
		if !validPort(p) || host == "" ||
			strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return &badURL{"has a host that is not host:port", "write host:" + port + ", several with commas between them"}
		}
	}
	return nil
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
