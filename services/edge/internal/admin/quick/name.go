package quick

import "strings"

// adjectives and nouns have 128 words each, so that seven bits choose one.
const (
	adjectives = `able amber ample arctic azure basic bold brave brief bright brisk broad bronze calm candid casual cheery chief civic
		clean clear clever cloudy coastal cool coral cosmic cozy crisp curious daily dapper daring deep dense direct dreamy dry dusty eager
		early easy elder electric elegant even exact fair famous fancy fast fine firm fleet fluent fond frank free fresh friendly frosty
		gentle giant glad golden grand green handy happy hardy hidden honest humble ideal indigo inland ivory jolly keen kind large late
		lively local loyal lucid lucky lunar mellow merry mild misty modern modest native neat nimble noble northern novel olive open orange
		patient placid plain polar polite prime proud pure quick quiet rapid rare ready royal rustic sandy scenic sharp shiny silent silver
		simple smart smooth sunny`
	nouns = `acorn anchor apple arrow badger bamboo barley basin beacon beaver birch bison blossom boulder breeze bridge brook cabin canal
		candle canyon canoe castle cedar cherry cliff clover cloud comet compass copper cotton crane creek cricket crystal dawn delta desert
		dolphin dune eagle echo ember falcon feather fern field finch fjord flint forest fossil fox garden geyser glacier grove gull harbor
		hazel heron hill horizon island ivy jasmine juniper kestrel lagoon lake lantern lark lemon lily lion lotus lynx maple marble meadow
		meteor mill mint moon moss mountain oak oasis ocean olive orchid osprey otter owl palm panda pebble pepper pine planet plum pond
		poplar prairie quail quartz rain raven reef ridge river robin rose saffron sage salmon sparrow spring spruce star stone stream summit
		swan thistle tulip willow`
	wordBits = 7
)

// nameBytes is how many random bytes a name is made of.
const nameBytes = 4

// name makes four words of random bytes: 28 bits.
func name(random [nameBytes]byte) string {
	lists := [][]string{strings.Fields(adjectives), strings.Fields(nouns)}
	words := make([]string, 0, nameBytes)
	for i, b := range random {
		words = append(words, lists[i%2][b&(1<<wordBits-1)])
	}
	return strings.Join(words, "-")
}
