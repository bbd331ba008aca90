package config

import (
	"fmt"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/archive"
	"github.com/mcpraft/mcpraft/snapshot"
)

// Backup is where backups go, how they are protected and which are kept.
type Backup struct {
	Destination Destination `yaml:"destination" help:"Where backups go; the same on every node. mcpraft backup test-destination tries it."`
	Compression string      `yaml:"compression" enum:"zstd,none" help:"Whether they are compressed."`
	Encryption  Encryption  `yaml:"encryption" help:"Whether they are encrypted, and by which keys."`
	Retention   Retention   `yaml:"retention" help:"Which backups mcpraft backup prune keeps: those that any rule keeps. All 0 but min_keep: every one."`
	Schedule    string      `yaml:"schedule" help:"When the leader takes a backup: minute, hour, day of month, month and day of week, as in 0 */6 * * *, or @daily, or @every 6h. A missed one is made up once. Empty: when told."`
	TimeZone    string      `yaml:"timezone" help:"Zone of the schedules, as in Europe/Berlin."`
	Verify      Verify      `yaml:"verify" help:"When the leader verifies the newest backup. What fails is an alarm."`
}

// Verify is when and how backups are verified without being told.
type Verify struct {
	AfterBackup string `yaml:"after_backup" enum:"none,files,decode,drill" help:"How the newest backup is verified once it has arrived. files: every object is there; decode: every byte is read; drill: and it is restored on the leader's disk, and has the right digest."`
	Schedule    string `yaml:"schedule" help:"When the newest backup is verified besides, as in 0 4 * * 0; written as backup.schedule. Empty: never."`
	Level       string `yaml:"level" enum:"files,decode,drill" help:"How, on that schedule."`
}

// A Destination holds objects.
type Destination struct {
	Type string `yaml:"type" enum:"none,local,s3" help:"none: no backups."`
	Path string `yaml:"path" help:"local: absolute path of a folder, usually on a mounted file server."`
	S3   S3     `yaml:"s3" help:"s3: a bucket."`
}

// S3 is a bucket and how to reach it.
type S3 struct {
	Endpoint      string `yaml:"endpoint" help:"URL without a path, as in https://s3.eu-central-1.amazonaws.com."`
	Region        string `yaml:"region" help:"Region. Empty: us-east-1, which most servers that are not Amazon's accept."`
	Bucket        string `yaml:"bucket" help:"Bucket, which must exist."`
	Prefix        string `yaml:"prefix" help:"What all names begin with, without a / at the end."`
	PathStyle     string `yaml:"path_style" enum:"auto,on,off" help:"on: the bucket stands behind the host, off: in front of it; auto: in front of it at Amazon, behind it elsewhere."`
	CAFile        string `yaml:"ca_file" help:"Certificates to trust instead of the system's, PEM."`
	AccessKeyFile string `yaml:"access_key_file" help:"File with the access key. It is read again when it changes."`
	SecretKeyFile string `yaml:"secret_key_file" help:"File with its secret. It is read again when it changes. Not readable by other users."`
}

// Encryption says how backups are sealed.
type Encryption struct {
	Cipher   string   `yaml:"cipher" enum:"none,aes_gcm,chacha20_poly1305" help:"Cipher; anything but none needs a key."`
	KeyFiles []string `yaml:"key_files" help:"Key files (mcpraft keys generate FILE). New backups are for the newest key of each, and any one of them opens them: keep one in another place."`
}

// Retention says which backups are kept.
type Retention struct {
	Days    int `yaml:"days" min:"0" max:"36500" help:"Every one that is younger."`
	Last    int `yaml:"keep_last" min:"0" max:"100000" help:"So many of the newest."`
	Hourly  int `yaml:"hourly" min:"0" max:"100000" help:"The newest of each of so many hours (UTC)."`
	Daily   int `yaml:"daily" min:"0" max:"100000" help:"The same for days."`
	Weekly  int `yaml:"weekly" min:"0" max:"100000" help:"The same for weeks, from Monday on."`
	Monthly int `yaml:"monthly" min:"0" max:"100000" help:"The same for months."`
	MinKeep int `yaml:"min_keep" min:"1" max:"100000" help:"So many of the newest, whatever their age."`
}

func defaultBackup() Backup {
	return Backup{
		Destination: Destination{Type: "none", S3: S3{PathStyle: "auto"}},
		Compression: "zstd",
		Encryption:  Encryption{Cipher: "none"},
		Retention:   Retention{Days: 30, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 6, MinKeep: 3},
		TimeZone:    "UTC",
		Verify:      Verify{AfterBackup: "files", Level: "drill"},
	}
}

func (l *loader) checkBackup() {
	b := l.config.Backup
	switch b.Destination.Type {
	case "local":
		l.checkPath("backup.destination.path", b.Destination.Path)
	case "s3":
		l.checkBucket("backup.destination.s3", b.Destination.S3)
	}
	if b.Encryption.Cipher != "none" && len(b.Encryption.KeyFiles) == 0 {
		l.missing("backup.encryption.key_files", "backup.encryption.cipher", "name at least one key file, better two in different hands",
			"backup.encryption.cipher is %s", b.Encryption.Cipher)
	}
	l.checkSchedule()
	for i, file := range b.Encryption.KeyFiles {
		l.checkPath(fmt.Sprintf("backup.encryption.key_files[%d]", i), file)
	}
}

// checkSchedule wants times that exist, and somewhere to put what is taken then.
func (l *loader) checkSchedule() {
	b := l.config.Backup
	if _, err := archive.ParseTimes("@daily", b.TimeZone); err != nil || b.TimeZone == "" {
		l.wrong("backup.timezone", "use a name like UTC or Europe/Berlin", "%q is no time zone", b.TimeZone)
		return
	}
	for path, expression := range map[string]string{"backup.schedule": b.Schedule, "backup.verify.schedule": b.Verify.Schedule} {
		if _, err := archive.ParseTimes(expression, b.TimeZone); err != nil {
			l.wrong(path, fault.As(err).Hint, "%s", fault.As(err).Message)
		}
		if expression != "" && b.Destination.Type == "none" {
			l.missing("backup.destination.type", path, "local or s3", "%s is set", path)
		}
	}
}

// Times are the schedules of b, which was checked.
func (b Backup) Times() (s archive.Schedule, err error) {
	if s.Backup, err = archive.ParseTimes(b.Schedule, b.TimeZone); err != nil {
		return s, err
	}
	if s.Verify, err = archive.ParseTimes(b.Verify.Schedule, b.TimeZone); err != nil {
		return s, err
	}
	if s.Level = snapshot.Level(b.Verify.Level); b.Verify.AfterBackup != "none" {
		s.After = snapshot.Level(b.Verify.AfterBackup)
	}
	return s, nil
}

func (l *loader) checkBucket(at string, s S3) {
	for key, value := range map[string]string{"endpoint": s.Endpoint, "bucket": s.Bucket} {
		if value == "" {
			l.missing(at+"."+key, at, "", "the destination is a bucket")
		}
	}
	l.checkPath(at+".access_key_file", s.AccessKeyFile)
	l.checkPath(at+".secret_key_file", s.SecretKeyFile)
	if s.CAFile != "" {
		l.checkPath(at+".ca_file", s.CAFile)
	}
}
