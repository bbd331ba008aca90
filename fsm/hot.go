package fsm

// hotBytes bounds the keys and values in the cache of hot records, and maxHotValue
// one value: pages of lists would push out what is read all the time.
const (
	hotBytes    = 32 << 20
	maxHotValue = 16 << 10
)

// A hotCache keeps the records that commands read or wrote last, so that a
// counter or a settings record costs no read. It is a table of pairs of slots:
// a key has one pair, whatever comes in goes into its first slot, and what was
// there moves to the second. There is nothing to grow or to keep in order, so a
// record that is written once and never read costs next to nothing. Only apply
// uses it.
type hotCache struct {
	pairs [][2]hotSlot
	bytes int
	hand  int // where eviction goes on
}

type hotSlot struct {
	key   string
	value []byte // nil: empty
}

const hotPairBits = 15 // 65,536 slots of 40 bytes

func newHotCache() *hotCache {
	return &hotCache{pairs: make([][2]hotSlot, 1<<hotPairBits)}
}

func (c *hotCache) get(hash uint64, key string) ([]byte, bool) {
	pair := &c.pairs[hash>>(64-hotPairBits)]
	for i := range pair {
		if s := &pair[i]; s.value != nil && s.key == key {
			return s.value, true
		}
	}
	return nil, false
}

// set remembers the value of key; nil means that there is no such key.
func (c *hotCache) set(hash uint64, key string, value []byte) {
	pair := &c.pairs[hash>>(64-hotPairBits)]
	for i := range pair {
		if pair[i].key == key {
			c.empty(&pair[i])
		}
	}
	if value == nil {
		return
	}
	if pair[0].value != nil {
		c.empty(&pair[1])
		pair[1] = pair[0]
	}
	pair[0] = hotSlot{key, value}
	c.bytes += len(key) + len(value)
	for c.bytes > hotBytes {
		c.hand = (c.hand + 1) % len(c.pairs)
		c.empty(&c.pairs[c.hand][0])
		c.empty(&c.pairs[c.hand][1])
	}
}

func (c *hotCache) empty(s *hotSlot) {
	c.bytes -= len(s.key) + len(s.value)
	*s = hotSlot{}
}
