package services

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes makes a child that leads a process group of its own and gets deathSignal when the thread that
// forked it ends.
func childAttributes(deathSignal syscall.Signal, credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: deathSignal, Credential: credential}
}

// processState returns the state letter of proc(5), or 0 for a process that is gone.
func processState(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may itself hold spaces and parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) == 0 {
		return 0
	}
	return fields[0][0]
}

// stopped tells whether the process is held by SIGSTOP.
func stopped(pid int) bool {
	return processState(pid) == 'T'
}

// alive tells whether the process runs: neither gone nor a zombie that waits for its parent.
func alive(pid int) bool {
	state := processState(pid)
	return state != 0 && state != 'Z' && state != 'X'
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// freeSharedMemory frees the segment that a killed Postgres left, given line 7 of its postmaster.pid: key and id. The
// kernel has room for some thousands of them only.
func freeSharedMemory(line string) {
	fields := strings.Fields(line)
	if len(fields) != 2 {
		return
	}
	if id, err := strconv.Atoi(fields[1]); err == nil {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // already gone is as good
	}
}
