package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// file returns the path and content of the configuration file, or nothing.
func (l *loader) file(path string) (string, []byte, *Error) {
	if path != "" {
		data, err := l.read(path)
		if err != nil {
			return path, nil, &Error{Field: "file", Value: path, Problem: "cannot be read: " + reason(err),
				Remedy: "name a file that exists and that this user may read", cause: err}
		}
		return path, data, nil
	}
	for _, path := range l.search {
		data, err := l.read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			// A file that is there but closed to us was meant for us.
			return path, nil, &Error{Field: "file", Value: path, Problem: "cannot be read: " + reason(err),
				Remedy: "let this user read it, remove it, or name another file (/dev/null for none)", cause: err}
		default:
			return path, data, nil
		}
	}
	return "", nil, nil
}

// maxFile bounds every file that is read here.
const maxFile = 1 << 20

var (
	errTooLarge   = fmt.Errorf("it is larger than %s", Size(maxFile))
	errNotRegular = errors.New("it is not a regular file")
)

// read returns a file's content and notes its mode.
func (l *loader) read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// A pipe without a writer would keep the start waiting.
	if !info.Mode().IsRegular() && path != os.DevNull {
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, errTooLarge
	}
	l.modes[path] = info.Mode()
	return data, nil
}

// reason is an error without the path, which the report shows already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// checkFiles reports files that are named but cannot be read.
func checkFiles(cfg *Config, p *problems) {
	c := checker{cfg, p}
	files := []struct{ key, path string }{
		{"hook.tls.cert", cfg.Hook.TLS.Cert},
		{"hook.tls.key", cfg.Hook.TLS.Key},
		{"hook.tls.client_ca", cfg.Hook.TLS.ClientCA},
	}
	for _, path := range cfg.Tariffs.File {
		files = append(files, struct{ key, path string }{"tariffs.file", path})
	}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if err := readable(f.path); err != nil {
			c.add(&Error{Field: f.key, Value: f.path, Problem: "cannot be read: " + reason(err),
				Remedy: "name a file that exists and that this user may read", Origin: c.Origin(f.key), cause: err})
		}
	}
}

func readable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// worldReadable reports whether every user of the machine may read a file of
// this mode. Windows has no such bits and reports them set.
func worldReadable(mode fs.FileMode) bool {
	return mode.IsRegular() && mode.Perm()&0o004 != 0 && runtime.GOOS != "windows"
}
