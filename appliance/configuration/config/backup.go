package config

import (
	"strings"
	"time"

	"filippo.io/age"
)

// Set says whether there is a place for backups.
func (p BackupPlace) Set() bool { return p.Directory != "" || p.S3.Bucket != "" }

// Storage is the place in the words of storage, to be opened as such.
func (p BackupPlace) Storage() Storage {
	if p.Directory != "" {
		return Storage{Filesystem: &Filesystem{Root: p.Directory}}
	}
	s3 := p.S3.s3()
	return Storage{S3: &s3}
}

func (b BackupBucket) s3() S3 {
	return S3{Bucket: b.Bucket, Region: b.Region, Endpoint: b.Endpoint, AccessKey: b.AccessKey, SecretKey: b.SecretKey,
		IAMRole: b.IAMRole, Root: b.Root, CABundle: b.CABundle}
}

func (b Backup) validate(s spot, images Storage) {
	validateSchedule(b.Schedule, s.at("schedule"))
	s.at("keep").between(b.Keep, 1, 1000)
	b.To.validate(s.at("to"), images)
	for i, r := range b.Recipients {
		validateRecipient(r, s.at("recipients").item(i))
	}
	if b.To.Set() && len(b.Recipients) == 0 {
		s.at("recipients").fail("required with backup.to: who can read the backup, such as [age1…]; age-keygen -o backup.key makes a key and prints its public half")
	}
}

func validateRecipient(text string, at spot) {
	switch list, err := age.ParseRecipients(strings.NewReader(text)); {
	case strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"):
		at.fail("this is a private key: take it away from here, and give the public one, which begins with age1")
	case err != nil || len(list) != 1:
		at.fail("must be a public key of age, which begins with age1, as age-keygen prints it")
	}
}

func (p BackupPlace) validate(s spot, images Storage) {
	if p.Directory != "" {
		at := s.at("directory")
		if p.S3.Bucket != "" {
			s.fail("exactly one of directory and s3; leave the other out")
		}
		Filesystem{Root: p.Directory}.validatePath(at)
		if f := images.Filesystem; f != nil && (within(p.Directory, f.Root) || within(f.Root, p.Directory)) {
			at.fail("lies in storage.filesystem.root, or that in it: choose a directory of its own, on another disk")
		}
		return
	}
	at := s.at("s3")
	at.called = at.path
	switch b := p.S3.s3(); {
	case p.S3.Bucket != "":
		b.validate(at)
		if o := images.S3; o != nil && o.Bucket == b.Bucket && o.Endpoint == b.Endpoint && o.Root == b.Root {
			at.at("bucket").fail("is where the images are: choose another bucket, or at least another root")
		}
	case p.S3 != BackupBucket{}:
		at.at("bucket").fail("required: the bucket's name")
	}
}

// within says whether a path is another one or lies below it.
func within(p, dir string) bool { return strings.HasPrefix(p+"/", strings.TrimSuffix(dir, "/")+"/") }

// Every is the longest time from one backup to the next, by the schedule.
func (b Backup) Every() time.Duration {
	const day = 24 * time.Hour
	switch {
	case b.Schedule == "hourly":
		return time.Hour
	case b.Schedule == "monthly":
		return 31 * day
	case b.Schedule == "weekly" || strings.Contains(b.Schedule, " "): // with days of the week
		return 7 * day
	}
	return day
}
