// Package portal is the API through which accounts are managed.
//
// [Admin] serves the operator under /admin/v1 on the ops listener: accounts,
// numbers, tariffs, credit and live calls. A change goes one way:
//
//	           checked            recorded             told                     done
//	request ------------> book -------------> mirror ---------> balance store ------> 200, 201
//	   |                   |  not available     |  away              |  away
//	   | 400, 404, 409     v                    +--------------------+-----------> 202 with warnings
//	   v                  503                                        |
//	                                                                 v
//	                                                    [Completer] applies what is missing
//
// The book ([Book]) is the durable home: what it has recorded counts. A grant
// whose number the balance store has not reached yet, an account it does not
// have yet, and a status that differs are put right by the Completer, from
// whichever sidecar, whatever was interrupted.
//
// # Form
//
// Requests and answers are JSON. Fields and query parameters that are not known
// are refused by name. An error is
//
//	{"error":{"code":"invalid_request","message":"...","param":"limits.max_calls","errors":[...]}}
//
// where errors is there only if more than one thing is wrong. Credit is given
// in minutes (an exact decimal, as a number or a string) or in units, 60,000 to
// the credit.
package portal
