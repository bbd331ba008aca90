//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const name = "raftnode/apply"

func set(t *testing.T, term string) {
	t.Helper()
	if err := Set(name, term); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Clear(name) })
}

func TestUnsetPointIsNothing(t *testing.T) {
	if err := Eval(name); err != nil {
		t.Errorf("Eval = %v", err)
	}
}

func TestErrorSaysWhatItWasTold(t *testing.T) {
	set(t, "error(disk full)")
	err := Eval(name)
	if !errors.Is(err, ErrInjected) || err.Error() != "failpoint raftnode/apply: disk full" {
		t.Errorf("Eval = %v", err)
	}
	set(t, "error(ENOSPC)")
	if err := Eval(name); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) {
		t.Errorf("Eval = %v", err)
	}
	Clear(name)
	if err := Eval(name); err != nil {
		t.Errorf("Eval after Clear = %v", err)
	}
}

func TestTermsAreForTheirHits(t *testing.T) {
	for term, want := range map[string]string{
		"error(x)":      "xxxxx",
		"2*error(x)":    "xx...",
		"3#error(x)":    "..xxx",
		"3#1*error(x)":  "..x..",
		"2#2*error(#*)": ".xx..",
		"off":           ".....",
	} {
		set(t, term)
		var got strings.Builder
		for range 5 {
			if Eval(name) != nil {
				got.WriteString("x")
			} else {
				got.WriteString(".")
			}
		}
		if got.String() != want || Hits(name) != 5 {
			t.Errorf("%s struck at %s, want %s; %d hits", term, got.String(), want, Hits(name))
		}
	}
}

func TestSleepTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, term := range []string{"sleep(5s)", "delay(5s)"} {
			set(t, term)
			begin := time.Now()
			if err := Eval(name); err != nil || time.Since(begin) != 5*time.Second {
				t.Errorf("%s took %v, %v", term, time.Since(begin), err)
			}
		}
	})
}

func TestPauseHoldsUntilReleased(t *testing.T) {
	for release, f := range map[string]func(){
		"clear": func() { Clear(name) },
		"set":   func() { _ = Set(name, "off") },
	} {
		synctest.Test(t, func(t *testing.T) {
			set(t, "pause")
			through := false
			go func() {
				_ = Eval(name)
				through = true
			}()
			synctest.Wait()
			if through {
				t.Errorf("%s: not paused", release)
			}
			f()
			synctest.Wait()
			if !through {
				t.Errorf("%s: still paused", release)
			}
		})
	}
}

func TestPanicPanics(t *testing.T) {
	set(t, "panic(boom)")
	defer func() {
		if v := recover(); v != "failpoint raftnode/apply: boom" {
			t.Errorf("recovered %v", v)
		}
	}()
	_ = Eval(name)
	t.Error("Eval returned")
}

func TestUnknownNameInTheProgramPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a misspelt failpoint went unnoticed")
		}
	}()
	_ = Eval("raftnode/aply")
}

// The test binary runs itself to see a process end.
func TestExitEndsTheProcess(t *testing.T) {
	if os.Getenv(Variable) != "" {
		if err := FromEnvironment(); err != nil {
			t.Fatal(err)
		}
		_ = Eval(name)
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestExitEndsTheProcess$")
	cmd.Env = append(os.Environ(), Variable+"= raftnode/propose=off; raftnode/apply=exit(37);")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 37 || !strings.Contains(string(out), "failpoint raftnode/apply: exit 37") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEnvironmentIsAllOrNothing(t *testing.T) {
	for setting, want := range map[string]string{
		"raftnode/apply":                           "not NAME=TERM",
		"raftnode/apply=error(x);raftnode/aply=":   "no failpoint is called",
		"raftnode/apply=error(x);admin/answer=die": `no action is called "die"`,
	} {
		t.Setenv(Variable, setting)
		if err := FromEnvironment(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), Variable) {
			t.Errorf("%s: %v, want %s", setting, err, want)
		}
		if Eval(name) != nil {
			t.Errorf("%s: a part was set", setting)
		}
	}
}

func TestBadTermsAreRefused(t *testing.T) {
	for _, term := range []string{
		"", "die", "error", "error()", "error(x", "sleep", "sleep(5)", "sleep(-1s)", "exit", "exit(-1)", "exit(256)", "exit(x)",
		"pause(1)", "off(1)", "0*error(x)", "x*error(x)", "0#error(x)", "-1#error(x)", "1*2#error(x)",
	} {
		if err := Set(name, term); err == nil || !strings.HasPrefix(err.Error(), "failpoint raftnode/apply: ") {
			t.Errorf("Set(%q) = %v", term, err)
		}
	}
}
