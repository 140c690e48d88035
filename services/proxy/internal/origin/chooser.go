package origin

import "net/http"

// Chooser chooses among the origins of a rule with several; *balance.Group is one.
type Chooser interface {
	// Begin starts the attempts of one request.
	Begin(a Ask) Attempts
	// States describes the origins, for the ops API.
	States() []State
	// Close gives up the origins; attempts in progress end as they would.
	Close()
}

// Attempts are the attempts of one request, one after another. They belong to one goroutine.
type Attempts interface {
	// Next gives the origin for the next attempt; false if none is left.
	Next() (*Origin, bool)
	// Again takes the result of an attempt, once its connection is made or the head of its response is there, and reports whether the
	// caller should make another attempt, for which it then calls Next.
	Again(r Result) bool
	// End says that the request is over.
	End()
}

// Ask is what the choice depends on.
type Ask struct {
	Client string      // address of the visitor, perhaps empty
	Header http.Header // of the request, with canonical names
	Safe   bool        // a repeat does no harm, even if an origin has seen the request
}

// Result is the result of an attempt.
type Result struct {
	Status  int   // of a response, 0 without one
	Err     error // why there is no response
	Unsent  bool  // with Err: the origin has not seen anything of the request
	Neutral bool  // the result says nothing about the origin: the visitor left, or the request is malformed
	Last    bool  // there is no time for another attempt
}

// State describes one origin.
type State struct {
	Service  string `json:"service"`
	Address  string `json:"address,omitempty"` // of a name that is looked up again
	State    string `json:"state"`             // up, down (by checks) or ejected (by failed requests)
	Reason   string `json:"reason,omitempty"`  // of the last failed check
	Weight   int    `json:"weight"`
	Backup   bool   `json:"backup,omitempty"`
	InFlight int64  `json:"in_flight"`
}
