package balance

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// script is one Lua source as Redis knows it.
type script struct {
	name, src, sha string
	shaArg         any // sha, as an argument that costs no allocation
}

// scripts are all the store runs. On a real Redis the ones that must work when
// memory is full carry the flag that allows it; miniredis does not know the header.
type scripts struct {
	authorize, answered, extend, settle, release, claim, adopt, prove, kill,
	grant, open, status, reap, lease, register,
	begin, filled, shut, reopen, bury, rebuild, restore, replay *script
}

func loadScripts(embedded bool) (*scripts, error) {
	common, err := scriptFiles.ReadFile("scripts/common.lua")
	if err != nil {
		return nil, err
	}
	var failed error
	get := func(name string, prelude, oom bool) *script {
		body, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			failed = err
			return nil
		}
		src := string(body)
		if prelude {
			src = string(common) + src
		}
		if oom && !embedded {
			src = "#!lua flags=allow-oom\n" + src
		}
		sum := sha1.Sum([]byte(src))
		sha := hex.EncodeToString(sum[:])
		return &script{name: name, src: src, sha: sha, shaArg: sha}
	}
	const lean, full, oom = false, true, true
	s := &scripts{
		authorize: get("authorize", lean, !oom),
		answered:  get("answered", full, oom),
		extend:    get("extend", full, oom),
		settle:    get("settle", full, oom),
		release:   get("release", full, oom),
		claim:     get("claim", full, oom),
		adopt:     get("adopt", full, oom),
		prove:     get("prove", full, oom),
		kill:      get("kill", full, oom),
		grant:     get("grant", lean, oom),
		open:      get("open", lean, !oom),
		status:    get("status", lean, oom),
		reap:      get("reap", full, oom),
		lease:     get("lease", lean, oom),
		register:  get("register", lean, oom),
		begin:     get("begin", full, oom),
		filled:    get("filled", full, oom),
		shut:      get("shut", full, oom),
		reopen:    get("reopen", full, oom),
		bury:      get("bury", full, oom),
		rebuild:   get("rebuild", full, oom),
		restore:   get("restore", full, oom),
		replay:    get("replay", full, oom),
	}
	return s, failed
}
