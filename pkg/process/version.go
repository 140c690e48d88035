package process

import "runtime/debug"

// version is set by the linker (-ldflags "-X .../pkg/process.version=v1.2.3").
var version = ""

// Version is the program's version: the one set by the linker, else the revision it was built from, else "dev".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	const short = 12
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= short {
			return "dev-" + s.Value[:short]
		}
	}
	return "dev"
}
