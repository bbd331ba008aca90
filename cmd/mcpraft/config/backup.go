package config

import "fmt"

// Backup is where backups go, how they are protected and which are kept.
type Backup struct {
	Destination Destination `yaml:"destination" help:"Where backups go; the same on every node. mcpraft backup test-destination tries it."`
	Compression string      `yaml:"compression" enum:"zstd,none" help:"Whether they are compressed."`
	Encryption  Encryption  `yaml:"encryption" help:"Whether they are encrypted, and by which keys."`
	Retention   Retention   `yaml:"retention" help:"Which backups mcpraft backup prune keeps: those that any rule keeps. All 0 but min_keep: every one."`
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
	for i, file := range b.Encryption.KeyFiles {
		l.checkPath(fmt.Sprintf("backup.encryption.key_files[%d]", i), file)
	}
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
