package page

// Log keys.
const (
	logAccount = "account"
	logError   = "error"
	logPanic   = "panic"
	logPath    = "path"
	logReason  = "reason"
	logRemote  = "remote"
	logStack   = "stack"
)
