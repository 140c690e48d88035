package sysinfo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

const (
	kilo = 1024
	// fileNumbers has the numbers of open and possible files of the whole system.
	fileNumbers = "/proc/sys/fs/file-nr"
)

func system(ctx context.Context) (func(*Info), error) {
	h, err := host.InfoWithContext(ctx)
	if err != nil {
		return nil, err
	}
	name, release, err := kernel()
	if err != nil {
		return nil, err
	}
	return func(i *Info) {
		i.OSSystem, i.HostName, i.OSVersion, i.Architecture = cmp.Or(name, h.OS), h.Hostname, h.KernelVersion, h.KernelArch
		i.OSRelease = cmp.Or(release, strings.TrimSpace(h.Platform+" "+h.PlatformVersion))
	}, nil
}

func memory(ctx context.Context) (func(*Info), error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return func(i *Info) {
		i.MemoryMaximum, i.MemoryCurrent = m.Total/kilo, (m.Total-min(m.Available, m.Total))/kilo
	}, nil
}

func descriptors(context.Context) (func(*Info), error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("not known on " + runtime.GOOS)
	}
	b, err := os.ReadFile(fileNumbers)
	if err != nil {
		return nil, err
	}
	used, most, err := parseFileNumbers(string(b))
	if err != nil {
		return nil, &rawError{err, string(b)}
	}
	return func(i *Info) { i.FileDescriptorCurrent, i.FileDescriptorMaximum = used, most }, nil
}

// parseFileNumbers reads three numbers: open files, unused ones, and the limit.
func parseFileNumbers(text string) (used, most uint64, err error) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return 0, 0, fmt.Errorf("%s has %d fields, want 3", fileNumbers, len(fields))
	}
	if used, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("open files: %w", err)
	}
	if most, err = strconv.ParseUint(fields[2], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("limit of files: %w", err)
	}
	return used, most, nil
}

// disks lists the file systems that have a size, each device once.
func disks(ctx context.Context) (func(*Info), error) {
	mounted, err := disk.PartitionsWithContext(ctx, true)
	if err != nil {
		return nil, err
	}
	var list []Disk
	var errs []error
	for _, m := range mounted {
		if slices.ContainsFunc(list, func(d Disk) bool { return strings.HasPrefix(m.Device, "/") && d.Name == m.Device }) {
			continue
		}
		u, err := disk.UsageWithContext(ctx, m.Mountpoint)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.Mountpoint, err))
			continue
		}
		if u.Total > 0 {
			list = append(list, Disk{Name: m.Device, Maximum: u.Total / kilo, Current: u.Used / kilo})
		}
	}
	if len(list) == 0 {
		return nil, errors.Join(append([]error{errors.New("no file system found")}, errs...)...)
	}
	return func(i *Info) { i.Disk = list }, nil
}
