package fsm

// hotBytes bounds the cache of hot records: keys and values, without the
// overhead of the maps.
const hotBytes = 32 << 20

// hotCache keeps the records that commands read or wrote last, so that a
// counter or a settings record costs no read. It has two generations: what is
// used moves to the young one; when that holds half of the limit it becomes the
// old one, and what was old is dropped. Only apply uses it.
type hotCache struct {
	young, old map[string][]byte
	bytes      int // of young
}

func newHotCache() *hotCache {
	return &hotCache{young: make(map[string][]byte), old: make(map[string][]byte)}
}

func (c *hotCache) get(key []byte) ([]byte, bool) {
	if v, ok := c.young[string(key)]; ok {
		return v, true
	}
	v, ok := c.old[string(key)]
	return v, ok
}

// set remembers the value of key; nil means that there is no such key.
func (c *hotCache) set(key string, value []byte) {
	if value == nil {
		if v, ok := c.young[key]; ok {
			c.bytes -= len(key) + len(v)
			delete(c.young, key)
		}
		delete(c.old, key)
		return
	}
	if v, ok := c.young[key]; ok {
		c.bytes -= len(key) + len(v)
	} else {
		delete(c.old, key)
	}
	c.young[key] = value
	c.bytes += len(key) + len(value)
	if c.bytes > hotBytes/2 {
		c.old, c.young, c.bytes = c.young, make(map[string][]byte), 0
	}
}
