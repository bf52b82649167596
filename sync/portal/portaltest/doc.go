// Package portaltest holds small stand-ins, in memory, for what the admin API
// works with: a book, a directory, and a balance store with calls. Only tests
// import it. Each can be told to fail.
package portaltest
