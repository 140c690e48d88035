// Package stockmetrics gives the metrics of a connector the names that the reference gives them (docs/spec/lifecycle.md 10.3), beside
// our own, so that dashboards and alerts go on working.
//
// One table says for each family of the reference where its figure comes from. The figures are computed when somebody asks for them,
// from what our own registry has at that moment, so that the data path counts nothing twice. Where the reference's figure is not what
// its name says, ours is; the table's notes say so.
package stockmetrics
