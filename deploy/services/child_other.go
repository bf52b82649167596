//go:build !linux

package services

import (
	"os"
	"syscall"
)

// Other systems know no death signal: a test binary that is killed leaves its servers behind there. Nor do they show
// process states the way Linux does, so the functions below answer what keeps their callers going.

func childAttributes(_ syscall.Signal, credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential}
}

func stopped(int) bool { return true }

func alive(pid int) bool {
	process, err := os.FindProcess(pid)
	return err == nil && process.Signal(syscall.Signal(0)) == nil
}

func childrenOf(int) []int { return nil }

func freeSharedMemory(string) {}
