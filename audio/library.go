package audio

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

//go:embed prompts/*.wav
var builtinFiles embed.FS

// builtin decodes the recordings of the binary, once a process: they are the
// same for every Library.
var builtin = sync.OnceValues(func() (map[clipKey]*Clip, error) {
	files, err := fs.Glob(builtinFiles, "prompts/*.wav")
	if err != nil {
		return nil, fmt.Errorf("audio: list built-in prompts: %w", err)
	}
	clips := make(map[clipKey]*Clip, len(files))
	for _, path := range files {
		data, err := builtinFiles.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("audio: read built-in prompt: %w", err)
		}
		key, err := parseFileName(path, filepath.Base(path))
		if err != nil {
			return nil, err
		}
		samples, rate, problems := check(path, data)
		if len(problems) > 0 {
			return nil, errors.Join(problems...)
		}
		clips[key] = newClip(key.prompt, key.language, "", "built-in", samples, rate)
	}
	return clips, nil
})

// Options say where an operator's recordings are.
type Options struct {
	// Dir holds the operator's recordings; empty means the built-in ones only.
	Dir string
	// Language is the deployment's: used for accounts without one, or whose
	// language has no recording. Empty means [DefaultLanguage].
	Language string
}

type clipKey struct {
	account  string // "" for everybody
	prompt   Prompt
	language string
}

// Library is a set of checked, encoded recordings.
type Library struct {
	clips    map[clipKey]*Clip
	language string
}

// Load reads and checks the operator's recordings and lays them over the
// built-in ones. The error joins a [FileError] for everything that is wrong
// with any of them.
func Load(o Options) (*Library, error) {
	base, err := builtin()
	if err != nil {
		return nil, err
	}
	l := &Library{clips: maps.Clone(base), language: DefaultLanguage}
	var problems []error
	if o.Dir != "" {
		problems = l.addDir(o.Dir, "")
		problems = append(problems, l.addAccounts(filepath.Join(o.Dir, "accounts"))...)
	}
	if o.Language != "" {
		if err := l.setLanguage(o.Language); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return l, nil
}

func (l *Library) setLanguage(tag string) error {
	language, ok := NormalizeLanguage(tag)
	if !ok {
		return fmt.Errorf("audio: language %q is not a language tag such as \"en\" or \"nl-be\"", tag)
	}
	for key := range l.clips {
		if key.account == "" && (key.language == language || key.language == parentLanguage(language)) {
			l.language = language
			return nil
		}
	}
	return fmt.Errorf("audio: language %q has no recording; there are %s", tag, strings.Join(l.Languages(""), ", "))
}

func (l *Library) addAccounts(dir string) []error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{fmt.Errorf("audio: list accounts' recordings: %w", err)}
	}
	var problems []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(path) // follows links: mounted configuration is full of them
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("audio: %w", err))
		case info.IsDir():
			problems = append(problems, l.addDir(path, e.Name())...)
		case soundFile(e.Name()):
			problems = append(problems, &FileError{Path: path, Found: "a recording outside any account's folder",
				Want: "accounts/<account>/" + e.Name(), Fix: "move it into the account's folder"})
		}
	}
	return problems
}

// addDir adds the recordings of one folder. Names that start with a dot belong
// to editors and to mounted volumes; files that are no sound (a README) are
// nobody's mistake. A sound file under a wrong name or format is: its owner
// believes it plays.
func (l *Library) addDir(dir, account string) []error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []error{fmt.Errorf("audio: list recordings: %w", err)}
	}
	var problems []error
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		if strings.HasPrefix(name, ".") || !soundFile(name) {
			continue
		}
		clip, errs := loadFile(path, name, account)
		if len(errs) > 0 {
			problems = append(problems, errs...)
			continue
		}
		key := clipKey{account, clip.Prompt, clip.Language}
		if other := l.clips[key]; other != nil && other.Source != "built-in" {
			problems = append(problems, &FileError{Path: path, Found: "the same prompt and language as " + other.Source,
				Want: "one file for each", Fix: "remove one of them"})
			continue
		}
		l.clips[key] = clip
	}
	return problems
}

func loadFile(path, name, account string) (*Clip, []error) {
	key, err := parseFileName(path, name)
	if err != nil {
		return nil, []error{err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, []error{fmt.Errorf("audio: %w", err)}
	}
	if !info.Mode().IsRegular() {
		return nil, []error{&FileError{Path: path, Found: "no regular file", Want: wantedFormat, Fix: "replace it"}}
	}
	if info.Size() > maxFileBytes {
		return nil, []error{&FileError{Path: path, Found: fmt.Sprintf("%d MB", info.Size()>>20),
			Want: wantedFormat + fmt.Sprintf(", at most %v", MaxDuration), Fix: convert(path, "trim 0 60")}}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, []error{fmt.Errorf("audio: %w", err)}
	}
	samples, rate, problems := check(path, data)
	if len(problems) > 0 {
		return nil, problems
	}
	return newClip(key.prompt, key.language, account, path, samples, rate), nil
}

// soundExtensions are what recordings are called, ours or not.
var soundExtensions = []string{".wav", ".wave", ".mp3", ".ogg", ".opus", ".flac", ".m4a", ".aac", ".aiff", ".au",
	".gsm", ".ulaw", ".ul", ".alaw", ".al", ".sln", ".sln16", ".raw", ".wav16", ".g722"}

func soundFile(name string) bool {
	return slices.Contains(soundExtensions, strings.ToLower(filepath.Ext(name)))
}

// parseFileName takes "<prompt>.<language>.wav" apart.
func parseFileName(path, name string) (clipKey, error) {
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	prompt, tag, _ := strings.Cut(stem, ".")
	if !strings.EqualFold(ext, ".wav") {
		target := filepath.Join(filepath.Dir(path), stem+".wav")
		return clipKey{}, &FileError{Path: path, Found: "a " + ext + " file", Want: wantedFormat,
			Fix: "convert it: " + convertCommand(quote(path), target, "") + ", and remove it"}
	}
	const want = "<prompt>.<language>.wav"
	if !Prompt(prompt).Known() {
		return clipKey{}, &FileError{Path: path, Found: fmt.Sprintf("no prompt called %q", prompt), Want: want,
			Fix: "rename it; the prompts are " + joinPrompts()}
	}
	language, ok := NormalizeLanguage(tag)
	if !ok {
		return clipKey{}, &FileError{Path: path, Found: fmt.Sprintf("no language in the name (%q)", tag), Want: want,
			Fix: fmt.Sprintf("rename it, for example to %s.nl.wav", prompt)}
	}
	return clipKey{prompt: Prompt(prompt), language: language}, nil
}

func joinPrompts() string {
	names := make([]string, len(prompts))
	for i, p := range prompts {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

// Find chooses the recording of a prompt for an account and its language, by
// the rule in the package's description; both may be empty. It reports false
// only for an unknown prompt.
func (l *Library) Find(p Prompt, account, language string) (*Clip, bool) {
	if !p.Known() {
		return nil, false
	}
	wanted, _ := NormalizeLanguage(language) // no tag, no wish
	for _, tag := range []string{wanted, l.language, DefaultLanguage} {
		for ; tag != ""; tag = parentLanguage(tag) {
			if clip, ok := l.Exact(p, account, tag); ok {
				return clip, true
			}
		}
	}
	return nil, false
}

// Exact returns the recording in that very language: the account's own, else
// everybody's.
func (l *Library) Exact(p Prompt, account, language string) (*Clip, bool) {
	if account != "" {
		if clip, ok := l.clips[clipKey{account, p, language}]; ok {
			return clip, true
		}
	}
	clip, ok := l.clips[clipKey{"", p, language}]
	return clip, ok
}

// Language is the deployment's language.
func (l *Library) Language() string { return l.language }

// Languages lists the languages in which everybody can hear a prompt, sorted;
// an empty prompt means any.
func (l *Library) Languages(p Prompt) []string {
	set := make(map[string]struct{})
	for key := range l.clips {
		if key.account == "" && (p == "" || key.prompt == p) {
			set[key.language] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
