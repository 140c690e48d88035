package install

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// system is an init system.
type system uint8

const (
	systemd system = iota
	openRC
	sysV
)

// Paths on the host. The directory and the names in it are those of cloudflared, so that either program finds the other's files.
const (
	configDir  = "/etc/cloudflared"
	configPath = configDir + "/config.yml"
	tokenPath  = configDir + "/token"
)

// loadCredentialSince is the first systemd that hands files to a service as credentials.
const loadCredentialSince = 247

// service is what is installed.
type service struct {
	// name is the name of the unit: that of the program.
	name string
	// program is the path of the binary.
	program string
	// token says that the run token in tokenPath is used, else the configuration file configPath.
	token bool
	// credentials says that the init system hands the token to the service, so that its user need not read the file.
	credentials bool
}

// args are the arguments of the binary. The token itself is never one of them: every user of the host can read a command line.
func (s service) args() []string {
	if !s.token {
		return []string{"--no-autoupdate", "--config", configPath, "tunnel", "run"}
	}
	from := tokenPath
	if s.credentials {
		from = "${CREDENTIALS_DIRECTORY}/token"
	}
	return []string{"--no-autoupdate", "tunnel", "run", "--token-file", from}
}

// command is the command line for a shell or a unit; paths with blanks are quoted.
func (s service) command() string {
	words := []string{s.program}
	if strings.ContainsAny(s.program, " \t") {
		words[0] = strconv.Quote(s.program)
	}
	return strings.Join(append(words, s.args()...), " ")
}

// file is a file to write.
type file struct {
	path string
	mode fs.FileMode
	text string
}

// link is a symbolic link to make; one that exists is kept.
type link struct{ path, target string }

// plan is what an installation writes and runs, and what its removal undoes.
type plan struct {
	system string
	files  []file
	links  []link
	// install runs after the files are written. Before the files are removed, stop runs, and removed after it; a command of stop may
	// fail, as the service may be gone.
	install, stop, removed [][]string
}

func planFor(on system, s service) plan {
	switch on {
	case systemd:
		unit := s.name + ".service"
		return plan{
			system: "systemd",
			files:  []file{{"/etc/systemd/system/" + unit, 0o644, unitText(s)}},
			install: [][]string{
				{"systemctl", "daemon-reload"}, {"systemctl", "enable", unit}, {"systemctl", "start", unit},
			},
			stop:    [][]string{{"systemctl", "disable", unit}, {"systemctl", "stop", unit}},
			removed: [][]string{{"systemctl", "daemon-reload"}},
		}
	case openRC:
		return plan{
			system:  "OpenRC",
			files:   []file{{"/etc/init.d/" + s.name, 0o755, openRCText(s)}},
			install: [][]string{{"rc-update", "add", s.name, "default"}, {"rc-service", s.name, "start"}},
			stop:    [][]string{{"rc-service", s.name, "stop"}, {"rc-update", "del", s.name, "default"}},
		}
	case sysV:
	}
	script := "/etc/init.d/" + s.name
	p := plan{
		system:  "System V init",
		files:   []file{{script, 0o755, sysVText(s)}},
		install: [][]string{{"service", s.name, "start"}},
		stop:    [][]string{{"service", s.name, "stop"}},
	}
	for _, level := range []string{"2", "3", "4", "5"} {
		p.links = append(p.links, link{path.Join("/etc/rc"+level+".d", "S50"+s.name), script})
	}
	for _, level := range []string{"0", "1", "6"} {
		p.links = append(p.links, link{path.Join("/etc/rc"+level+".d", "K02"+s.name), script})
	}
	return p
}
