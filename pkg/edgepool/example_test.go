package edgepool_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Four connections of one connector get four addresses, spread evenly over two regions.
func ExampleAllocate() {
	region := func(name tunnel.Region, network byte) edgepool.RegionPool {
		var addrs []netip.AddrPort
		for host := range byte(4) {
			addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, network, host}), 7844))
		}
		return edgepool.NewRegion(name, addrs)
	}
	table := edgepool.Table{
		Pool: edgepool.Pool{Source: edgepool.SourceSRV, Regions: []edgepool.RegionPool{region("region1", 100), region("region2", 101)}},
		Used: map[tunnel.ConnIndex]tunnel.EdgeAddr{},
	}
	first := func(int) int { return 0 } // instead of a random number
	for index := range tunnel.ConnIndex(4) {
		edge, err := edgepool.Allocate(time.Time{}, table, edgepool.Request{Index: index}, first)
		if err != nil {
			fmt.Println(err)
			return
		}
		table.Used[index] = edge
		fmt.Println(index, edge)
	}
	// Output:
	// 0 198.51.100.0:7844
	// 1 198.51.101.0:7844
	// 2 198.51.100.1:7844
	// 3 198.51.101.1:7844
}
