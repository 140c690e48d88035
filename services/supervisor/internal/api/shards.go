package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/opsapi"
)

// MemberSeparator stands in the name of a member between the id of a supervisor and what tells its process apart from another one with
// that id.
const MemberSeparator = "/"

// idOf is the id in the name of a member.
func idOf(member string) string {
	if i := strings.LastIndex(member, MemberSeparator); i >= 0 {
		return member[:i]
	}
	return member // of a version in which one supervisor plans for all
}

// shards responds with who plans for which tunnels. It is what this supervisor learned last, at most a second ago while the store responds.
func (a *API) shards(c echo.Context) error {
	view := a.View()
	return c.JSON(http.StatusOK, opsapi.Shards{Count: len(view.Owners), Fresh: view.Current, Owners: ownersOf(view)})
}

// ownersOf lists the supervisors that plan, by name.
func ownersOf(view View) []opsapi.ShardOwner {
	out := []opsapi.ShardOwner{}
	for i, member := range view.Owners {
		if member == "" {
			continue
		}
		n := slices.IndexFunc(out, func(o opsapi.ShardOwner) bool { return o.Member == member })
		if n < 0 {
			n = len(out)
			out = append(out, opsapi.ShardOwner{Supervisor: idOf(member), Member: member, Self: member == view.Member})
		}
		out[n].Shards = append(out[n].Shards, i)
	}
	slices.SortFunc(out, func(a, b opsapi.ShardOwner) int { return strings.Compare(a.Member, b.Member) })
	return out
}
