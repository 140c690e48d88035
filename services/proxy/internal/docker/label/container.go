package label

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Container is a running container as the engine lists it.
type Container struct {
	ID, Name string
	// Created is in seconds since 1970.
	Created int64
	State   State
	Labels  map[string]string
	// Mode is the network mode: host, container:ID, or the name of a network.
	Mode     string
	Networks []Network
	Ports    []Port

	network string // that its label names
}

// State is whether a container can serve.
type State string

// The states.
const (
	Serving   State = "serving"
	Starting  State = "starting"  // its health check has not succeeded yet
	Unhealthy State = "unhealthy" // its health check fails
	Paused    State = "paused"
	Down      State = "down"
)

// Network is a network that a container is connected to.
type Network struct {
	Name string
	Addr netip.Addr // the zero one while it has none
}

// Port is a TCP port that a container exposes. Public is the port of the host at which it is published, and 0 without one.
type Port struct {
	Private, Public uint16
	HostIP          netip.Addr
}

// Options say how the containers are reached and what they may ask for.
type Options struct {
	// Network is the network whose addresses are used; empty chooses.
	Network string
	// Published reaches the containers at their published ports, as from another network.
	Published bool
	// HostAddress is the address of the engine's host, for published ports and for containers in its network.
	HostAddress string
	// Hostnames are what containers may ask for, with *.NAME for all names below; empty is everything.
	Hostnames []string
	// Self is the beginning of the id of the container in which this process runs; empty outside of one.
	Self string
}

// Problem is something in the labels of a container that is not used.
type Problem struct {
	Container string
	// Label is the name of the label.
	Label, Text string
}

const (
	labelNetwork   = Prefix + "network"
	composeProject = "com.docker.compose.project"
)

// view is the list of containers as the addresses of one of them depend on it.
type view struct {
	options Options
	byID    map[string]*Container
	shared  []string // networks of the container in which this process runs
}

func newView(all []Container, o Options) *view {
	v := &view{options: o, byID: make(map[string]*Container, len(all))}
	for i := range all {
		v.byID[all[i].ID] = &all[i]
		if o.Self != "" && strings.HasPrefix(all[i].ID, o.Self) {
			for _, n := range all[i].Networks {
				v.shared = append(v.shared, n.Name)
			}
		}
	}
	return v
}

// address is where a port of the container is reached.
func (v *view) address(c *Container, port uint16) (string, error) {
	if v.options.Published {
		return v.published(c, port)
	}
	if c.Mode == "host" {
		return join(v.options.HostAddress, port), nil
	}
	owner := c
	if id, is := strings.CutPrefix(c.Mode, "container:"); is {
		if owner = v.byID[id]; owner == nil {
			return "", fmt.Errorf("it uses the network of container %.12s, which does not run", id)
		}
		if owner.Mode == "host" {
			return join(v.options.HostAddress, port), nil
		}
	}
	n, err := v.network(c, owner)
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(n.Addr, port).String(), nil
}

func (v *view) published(c *Container, port uint16) (string, error) {
	if c.Mode == "host" {
		return join(v.options.HostAddress, port), nil
	}
	for _, p := range c.Ports {
		if p.Private != port || p.Public == 0 {
			continue
		}
		if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() && !p.HostIP.IsLoopback() {
			return netip.AddrPortFrom(p.HostIP, p.Public).String(), nil
		}
		return join(v.options.HostAddress, p.Public), nil
	}
	return "", fmt.Errorf("port %d is not published", port)
}

// network chooses the network over which the container is reached: the one that its label names, the one of the settings, one that this
// process shares with it, or the only one.
func (v *view) network(c, owner *Container) (Network, error) {
	usable := slices.Clone(owner.Networks)
	usable = slices.DeleteFunc(usable, func(n Network) bool { return !n.Addr.IsValid() })
	slices.SortFunc(usable, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	names := make([]string, len(usable))
	for i, n := range usable {
		names[i] = n.Name
	}
	find := func(name string) (Network, bool) {
		inProject := c.Labels[composeProject] + "_" + name
		for _, n := range usable {
			if n.Name == name || n.Name == inProject {
				return n, true
			}
		}
		return Network{}, false
	}
	if name := c.network; name != "" {
		if n, found := find(name); found {
			return n, nil
		}
		return Network{}, fmt.Errorf("it has no address in the network %q, only in: %s", name, strings.Join(names, ", "))
	}
	if n, found := find(v.options.Network); found && v.options.Network != "" {
		return n, nil
	}
	for _, n := range usable {
		if slices.Contains(v.shared, n.Name) {
			return n, nil
		}
	}
	switch len(usable) {
	case 0:
		return Network{}, errors.New("it has no address in any network")
	case 1:
		return usable[0], nil
	}
	return Network{}, fmt.Errorf("it is in several networks (%s): name one with %s", strings.Join(names, ", "), labelNetwork)
}

func join(host string, port uint16) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr, port).String()
	}
	return fmt.Sprintf("%s:%d", host, port)
}
