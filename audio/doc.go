// Package audio holds what callers hear: the recorded prompts, the choice of
// one for an account and a language, and their delivery over HTTP. Its
// subpackage announce delivers them over SIP and RTP.
//
// # Recordings
//
// Thirty recordings (five prompts in six languages) are built into the binary.
// An operator replaces any of them, or adds languages, with files:
//
//	<dir>/<prompt>.<language>.wav                       the deployment's
//	<dir>/accounts/<account>/<prompt>.<language>.wav    one account's
//
// Every file is checked when the [Library] is loaded: RIFF WAVE, 16-bit PCM,
// mono, 8 or 16 kHz, 0.25 to 60 s, audible, not clipped. A bad file fails the
// start with a [FileError] that says what was found and how to mend it; a
// caller is the wrong person to discover it.
//
// # Choice
//
// [Library.Find] looks for the account's language first, then the
// deployment's, then English; a regional language falls back to its parent
// ("nl-be" to "nl"). Within one language the account's own file wins over the
// deployment's, and that over the built-in one. The language matters most: a
// listener gains nothing from the right voice in the wrong language.
//
// # Encodings
//
// Every recording is encoded once, at load, to each [Encoding] a switch may
// ask for, and served from memory: 64 kB for each second of audio, about 12 MB
// for the built-in recordings.
//
// A Library never changes after [Load]; all its methods may be called
// concurrently.
package audio
