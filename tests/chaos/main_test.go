//go:build chaos && linux

package chaos_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/tests/chaos"
)

var (
	runNames = flag.String("chaos.run", "", "scenarios to run, separated by commas (default: all)")
	runCount = flag.Int("chaos.count", 1, "how often each of them runs")
	runOut   = flag.String("chaos.out", "", "file to write the values to, as JSON")
	runFull  = flag.Bool("chaos.full", false, "the whole length of every fault and of the load around it")
	runQuick = flag.Bool("chaos.quick", false, "only the scenarios that take a short time")
)

// insideVariable is set in the process that runs the tests: in namespaces of its own.
const insideVariable = "CULVERT_CHAOS_INSIDE"

// rows are the results of all scenarios, in order.
var rows []chaos.Row

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(insideVariable) == "" {
		os.Exit(inside())
	}
	_ = os.Unsetenv(insideVariable) // not for the programs that it starts
	// The processes see each other by their numbers in the namespace. Where a system does not allow that, they know less of each other.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err == nil {
		_ = syscall.Mount("proc", "/proc", "proc", 0, "")
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "loopback interface of the namespace: %v: %s\n", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if len(rows) > 0 {
		fmt.Println()
		if err := chaos.Print(os.Stdout, rows); err != nil {
			code = 1
		}
	}
	if *runOut != "" {
		b, err := json.MarshalIndent(rows, "", "  ")
		if err == nil {
			err = os.WriteFile(*runOut, append(b, '\n'), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "write the values:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// inside runs this program again in a network namespace and a process namespace of its own: its faults concern nobody else, and
// whatever it started ends with it.
func inside() int {
	runtime.LockOSThread() // Pdeathsig goes with the thread
	signal.Ignore(os.Interrupt)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Start()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		fmt.Printf("SKIP: this system gives no namespaces (%v); they need root, or namespaces for every user\n", err)
		return 0
	}
	if err == nil {
		err = cmd.Wait()
	}
	var ee *exec.ExitError
	if errors.As(err, &ee) && ee.ExitCode() > 0 {
		return ee.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run in namespaces:", err)
		return 1
	}
	return 0
}

// TestScenarios runs the table.
func TestScenarios(t *testing.T) {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(*runNames, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	named := len(wanted) > 0
	for _, s := range scenarios() {
		if (named && !wanted[s.name]) || (!named && (s.byName || *runQuick && !s.quick)) {
			continue
		}
		delete(wanted, s.name)
		values := map[string][]float64{}
		t.Run(s.name, func(t *testing.T) {
			for i := range *runCount {
				t.Run(fmt.Sprint(i+1), func(t *testing.T) { s.measure(t, values) })
			}
		})
		for _, b := range s.bounds {
			if v := values[b.Measure]; len(v) > 0 {
				rows = append(rows, chaos.NewRow(s.name, b, v))
			}
		}
	}
	for name := range wanted {
		t.Errorf("there is no scenario %q", name)
	}
}

// scenario is a fault of a deployment, and what there may be to see of it.
type scenario struct {
	name string
	// quick ones are part of every run of all suites; byName ones run only when they are named.
	quick, byName bool
	size          size
	// fault breaks something and sets every measure of bounds.
	fault  func(r *run)
	bounds []chaos.Bound
}

// measure runs the scenario once.
func (s scenario) measure(t *testing.T, values map[string][]float64) {
	r := &run{cluster: newCluster(t, s.size), values: map[string]float64{}}
	defer r.end()
	r.start()
	s.fault(r)
	for _, b := range s.bounds {
		v, ok := r.values[b.Measure]
		if !ok {
			t.Errorf("%s was not measured", b.Measure)
			continue
		}
		values[b.Measure] = append(values[b.Measure], v)
		mark := ""
		if !b.Holds(v) {
			mark = "  MISSED"
		}
		t.Logf("%-34s %8.2f   bound %v%s", b.Measure, v, b, mark)
		if !b.Passes(v) {
			t.Errorf("%s is %.2f, bound %v", b.Measure, v, b)
		}
	}
}
