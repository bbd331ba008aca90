// Package process runs child processes that must never outlive the process that
// started them.
//
//	runner := process.NewRunner(process.Config{Reaper: []string{self, "reap-children"}})
//	go runner.Run(ctx)                     // its owner waits for it
//	child, err := runner.Start(command, log)
//	defer child.Stop()
//	err = child.Send(ctx, line)
//	lines := process.NewLines(child, 16<<20)
//	for line, err := lines.Next(); err == nil; line, err = lines.Next() { … }
//
// # What is guaranteed
//
//   - A child leads a session and process group of its own. When it ends, for
//     whatever reason, what is left of its group is killed before its number can
//     be given to another process.
//   - When this process dies in a way that it cannot handle, the kernel kills the
//     child (Linux), and a helper process that holds nothing but a pipe to us
//     kills the rest of each group. What leaves its group by setsid is not
//     followed.
//   - The child's environment is what its Command says, never ours as a whole.
//   - Memory here is bounded: one line at a time, the newest [LogBytes] of what the
//     child writes to stderr, which is read at [LogRate] at most. A child that
//     does not read its input for [StallLimit] is killed.
//
// # What it does not know
//
// What the lines mean, whether a child is healthy, and when to start it again.
package process
