// Package config reads what an operator decides: one YAML file, RINGFENCE_
// variables and the command line's flags, in rising rank, over a default for
// everything.
//
//	c, err := config.Load(path, os.Environ(), flags)
//
// A configuration is taken whole or not at all. Load reports everything that is
// wrong with it at once, each as an [Error] that names the key, the value, where
// it stands, why it cannot be and what to write instead. A name that is no
// setting is refused with the one that was probably meant.
//
// # Values
//
// Durations are Go's ("250ms", "60s", "24h"), sizes have units of 1024
// ("64KiB"), port ranges both ends ("20000-24999"). Lists are YAML lists, or in
// a variable texts with commas between them; tables and the list of switches are
// YAML or JSON there. What YAML would take for a number stays the text it is
// where a text is meant, so a token of digits keeps its zeros.
//
// # Variables
//
// hook.tls.client_ca is RINGFENCE_HOOK_TLS_CLIENT_CA; only ops.admin_token has a
// shorter name, RINGFENCE_ADMIN_TOKEN. The timeout of a switch named kam-1 is
// RINGFENCE_SWITCH_KAM_1_TIMEOUT. Every secret, and the stores' URLs, may lie in
// a file that RINGFENCE_..._FILE names. A variable that looks like one of ours
// but is none is refused; one that only shares the prefix is warned about, and
// those that Kubernetes makes for a service named ringfence are passed over.
//
// # Secrets
//
// A [Secret] and the password in a [URL] show themselves only to Reveal:
// printing, logging and encoding them gives [Redacted], and no error or warning
// of this package quotes them.
//
// # Change
//
// The tags of [Config] are the only place where a setting is described:
// [Reference] makes the table in the README from them, and [Diff] tells which
// changes SIGHUP applies and which wait for a restart. A new setting is one
// field there, and one line in ringfence.example.yaml, which the tests demand.
package config
