package fsm

// Stats are numbers of the storage below a Machine, for metrics and admission.
type Stats struct {
	L0Files         int64  // tables that were flushed and not yet compacted
	L0Sublevels     int64  // writes stall at 24
	ReadAmp         int64  // tables that a read may have to look into
	CompactionDebt  uint64 // bytes
	DiskBytes       uint64
	MemTableBytes   uint64
	WALBytes        uint64
	BlockCacheBytes int64
	BlockCacheHits  int64
	BlockCacheMiss  int64
	HotHits         uint64 // reads of commands that the cache of hot records answered
	HotMisses       uint64
	Stalls          uint64 // times that Pebble made Apply wait, since the state was opened or restored
	Stalled         bool   // it does so now
	OpenViews       int64  // and snapshots
}

// Stats takes some microseconds. Of a closed Machine they are zero.
func (m *Machine) Stats() Stats {
	s, err := m.use()
	if err != nil {
		return Stats{}
	}
	defer s.release()
	p := s.db.Metrics()
	return Stats{
		L0Files:         p.Levels[0].TablesCount,
		L0Sublevels:     int64(p.Levels[0].Sublevels),
		ReadAmp:         int64(p.ReadAmp()),
		CompactionDebt:  p.Compact.EstimatedDebt,
		DiskBytes:       p.DiskSpaceUsage(),
		MemTableBytes:   p.MemTable.Size,
		WALBytes:        p.WAL.Size,
		BlockCacheBytes: p.BlockCache.Size,
		BlockCacheHits:  p.BlockCache.Hits,
		BlockCacheMiss:  p.BlockCache.Misses,
		HotHits:         m.hotHits.Load(),
		HotMisses:       m.hotMisses.Load(),
		Stalls:          s.stalls.Load(),
		Stalled:         s.stalled.Load(),
		OpenViews:       int64(p.Snapshots.Count),
	}
}
