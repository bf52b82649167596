// Package kamailio is the control side of a Kamailio that runs the configuration
// in deploy/kamailio: it hangs up, extends and lists calls by JSON-RPC over HTTP
// (the modules xhttp and jsonrpcs). What Kamailio asks and reports is the common
// hook API; there is nothing to translate.
//
// # Which dialog is a call
//
// Kamailio knows dialogs, by Call-ID; the meter knows legs, by Call-ID and
// direction. An on-net call is one dialog and two legs. The configuration keeps,
// as variables of each dialog that dlg.list shows, whose leg it is and how long
// it may last:
//
//	outbound = "account=org-1"   limit_outbound = "3600"
//	inbound  = "account=org-2"   limit_inbound  = "60"
//
// So one dialog lists as one or two legs, hanging up either leg ends both, and the
// dialog's timer is set to the lower limit.
//
// # Commands
//
//	Hangup   dlg.dlg_list [call-id], then dlg.end_dlg [h_entry, h_id, headers]: BYE to both
//	         ends with a Reason (RFC 3326); of a call that still rings, ringfence.cancel, a route of the
//	         configuration around t_cancel_callid()
//	Extend   dlg.dlg_list [call-id], then ringfence.extend, a route of the configuration
//	         around dlg_set_timeout(): Kamailio has no such command
//	List     dlg.list
//	Warn     none: Kamailio carries no media and cannot speak to a caller. authz.ErrNoControl
//
// # Unknown is not absent
//
// Kamailio gives no answer at all to what it cannot parse or has no memory for,
// and an empty one where memory ends while it prints. A listing counts only if
// every dialog in it could be read; a dialog that does not say whose legs it has
// stands for both.
package kamailio
