package balance

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
)

// unable are the replies by which a Redis says that it cannot serve or take
// writes now, where the driver has no test of its own for them (redis.io,
// "Redis serialization protocol specification", errors). The code is a reply's
// first word, also of an error that a command raised inside a script; a plain ERR
// is left out by the driver's test.
var unable = []string{"MISCONF ", "BUSY ", "NOREPLICAS ", "The user executing the script can't run "}

var unableTests = []func(error) bool{redis.IsOOMError, redis.IsReadOnlyError, redis.IsLoadingError, redis.IsClusterDownError,
	redis.IsMasterDownError, redis.IsTryAgainError, redis.IsMaxClientsError, redis.IsNoReplicasError, redis.IsAuthError, redis.IsPermissionError}

// classify translates a driver's error once. What is no reply of Redis (the
// connection broke, no answer came in time, no connection could be had, no node is
// known) and every reply that says it cannot serve now becomes authz.ErrDown. Any other
// reply is a bug of a script or of a caller.
func classify(what string, err error) error {
	if errors.Is(err, authz.ErrDown) {
		return err
	}
	if down(err) {
		return fmt.Errorf("%s: %w: %w", what, authz.ErrDown, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func down(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	for _, is := range unableTests {
		if is(err) {
			return true
		}
	}
	for _, code := range unable {
		if redis.HasErrorPrefix(err, code) {
			return true
		}
	}
	// A slot on its way between nodes, and the driver has followed it as often as it may.
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}
