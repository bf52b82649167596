// Package announce is a small SIP user agent that tells a caller why there is
// no call. A switch relays the INVITE of a denied call to it:
//
//	INVITE sip:insufficient_credits@127.0.0.1:5092;lang=nl;account=acme
//
// It answers 183 Session Progress with SDP, sends the prompt as early media
// (RTP, G.711, a frame each 20 ms), and then gives the final reply of the
// denial with its Q.850 cause in a Reason header (RFC 3326):
//
//	SIP/2.0 402 Payment Required
//	Reason: Q.850;cause=21;text="Call rejected"
//
// # A call's life
//
//	              no common codec, SRTP only, on hold, no SDP (early)
//	INVITE ──────────────────────────────────────────────────────────────┐
//	  │                                                                  │
//	  ├─ early ──> 183 + SDP ──> playing ──── prompt is over ────────────┼──> final reply
//	  │                             │                                    │
//	  │                             ├─ CANCEL, BYE ──> 487               │
//	  │                             └─ the server stops ─────────────────┘
//	  │
//	  └─ answer ─> 200 + SDP ──> ACK ──> playing ── over, server stops ──> BYE
//	                 │                      └────── BYE from the caller ─> 200 to it
//	                 └─ no ACK ──> BYE
//
// The mode is the configuration's, or the URI's: mode=early or mode=answer. An
// answered announcement is for networks that pass no early media; it costs the
// caller what an answered call costs, so early is the default. A delayed offer
// (an INVITE without SDP) gets an offer in the 200 and the prompt after the
// ACK in answer mode; in early mode it gets the final reply at once, since
// early media would need reliable provisional responses (RFC 3262).
//
// # The request URI
//
// The user part names the prompt. Parameters, all optional, and ignored when
// they make no sense, since a caller must never be left without a reply:
//
//	lang     language tag of the prompt; audio.Library chooses
//	account  account whose own recordings are preferred
//	code     final SIP status (402, 403, 404, 410, 480, 484, 486, 487, 500, 503, 600, 603, 604)
//	cause    Q.850 cause of the Reason header (1 to 127)
//	mode     early or answer
//
// # Media
//
// One goroutine paces all announcements from one clock ([pacer]); a frame costs
// no allocation. RTP goes to the address of the SDP, until the first packet
// from the peer shows where it really is (symmetric RTP, RFC 4961). Nothing
// more is read from the caller: nobody here listens.
//
// # Trust
//
// Datagrams from addresses that are not configured as peers are dropped unread
// and counted. A panic inside the SIP parser costs the datagram that caused it.
// Nothing here touches credit. Log lines carry Call-IDs and peers' addresses,
// never the caller's or the callee's number.
//
// No RTCP is sent, and 100rel, SRTP, ICE and DNS look-ups are not done.
package announce
