// SPDX-License-Identifier: Apache-2.0

package contract

// NetworkListing is what the program libexec/rkt/network prints of all networks,
// as JSON, and what `rkt net list` and `rkt net inspect` print of it.
type NetworkListing struct {
	Networks []ListedNetwork `json:"networks"`
	// Broken are errors of files in directories that rkt shares with others.
	Broken []string `json:"broken,omitempty"`
}

// ListedNetwork is one network.
type ListedNetwork struct {
	Name   string `json:"name"`
	Driver string `json:"driver"` // "builtin" or "cni"
	// Kind is the type of the plugin that makes the interface; "builtin".
	Kind    string   `json:"kind"`
	Plugins []string `json:"plugins,omitempty"` // types, in order
	// CNIVersions are those that the configuration agrees to.
	CNIVersions []string `json:"cniVersions,omitempty"`
	File        string   `json:"file"`             // its configuration; "" if built in
	Shared      bool     `json:"shared,omitempty"` // others use the directory as well
	// Hidden: another network of that name comes first, so that no pod gets this.
	Hidden  bool          `json:"hidden,omitempty"`
	Subnets []string      `json:"subnets"`
	Leases  []ListedLease `json:"leases"`
	// Blocked are chains of other programs' firewalls that drop what pods of the
	// network say to others than the host, in words.
	Blocked []string `json:"blocked,omitempty"`
	// Status, if plugins were asked: "ready", "unknown" (they have no such
	// question), or what is wrong.
	Status string `json:"status,omitempty"`
}

// ListedLease is an address that somebody has, or an attachment without one.
type ListedLease struct {
	Address string     `json:"address"`
	Holder  string     `json:"holder"` // a pod's UUID, or another container's ID
	IfName  string     `json:"ifName,omitempty"`
	State   LeaseState `json:"state"`
	// Check, if plugins were asked about it: "good", "unknown", or what is wrong.
	Check string `json:"check,omitempty"`
}

// LeaseState says whose a lease is.
type LeaseState string

// The states.
const (
	LeaseUsed   LeaseState = "used"   // by a pod that runs
	LeaseEnded  LeaseState = "ended"  // by a pod that has ended: rkt gc gives it back
	LeaseNobody LeaseState = "nobody" // its pod is gone: rkt net gc gives it back
	LeaseOther  LeaseState = "other"  // not of rkt's, or of another data directory
)
