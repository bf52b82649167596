// Package house holds the tests that keep the repository in order: which folders exist, who imports whom, and the
// rules for Go files that no linter knows. rules_test.go opens with the table of who may import what.
package house
