package provision_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// downloads is how many images were downloaded since the nodes had run n
// commands.
func (s *site) downloads(n int) (count int) {
	for _, r := range s.sim.Ran()[n:] {
		image := r.Argv[0] == "wget" && slices.Contains(r.Argv, "-c")
		if image || r.Argv[0] == "pvesh" && r.Argv[1] == "create" {
			count++
		}
	}
	return count
}

// looks is how often the nodes asked the internet for anything since then.
func (s *site) looks(n int) (count int) {
	for _, r := range s.sim.Ran()[n:] {
		if r.Argv[0] == "wget" {
			count++
		}
	}
	return count
}

func (s *site) mustInstall(spec provision.Install) provision.Job {
	s.t.Helper()
	job := s.await(s.mustOrder(spec), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	if job.State != provision.StateSucceeded {
		s.t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	return job
}

// Where an image goes: to a storage that PVE downloads to, shared if there is
// one, else to the bot's folder.
func TestDepot(t *testing.T) {
	const gib = 1 << 30
	local := func(content ...string) []pvesim.StorageSpec {
		return []pvesim.StorageSpec{
			{Name: "local", Type: "dir", Content: content, Capacity: 50 * gib},
			{Name: "local-lvm", Type: "lvmthin", Content: []string{"images"}, Capacity: 100 * gib},
		}
	}
	full := func(names ...string) []pvesim.StorageSpec {
		list := []pvesim.StorageSpec{
			{Name: "local-lvm", Type: "lvmthin", Content: []string{"images"}, Capacity: 100 * gib},
			{Name: "local", Type: "dir", Content: []string{"import"}, Capacity: 50 * gib},
			{Name: "nfs", Type: "nfs", Content: []string{"import"}, Shared: true, Capacity: 50 * gib},
		}
		for n := range list {
			if slices.Contains(names, list[n].Name) {
				list[n].Used = list[n].Capacity
			}
		}
		return list
	}
	for name, tt := range map[string]struct {
		options pvesim.Options
		storage string // setting
		image   string // begins with
		card    string // the step that chooses says it
		say     string
	}{
		"shared":         {image: "nfs:import/ubuntu-26.04-"},
		"local":          {options: pvesim.Options{Storages: local("import", "iso")}, image: "local:import/ubuntu-26.04-"},
		"none has it":    {options: pvesim.Options{Storages: local("iso")}, image: "FOLDER/ubuntu-26.04-"},
		"before 8.4":     {options: pvesim.Options{Version: "8.3.5"}, image: "FOLDER/ubuntu-26.04-"},
		"8.4":            {options: pvesim.Options{Version: "8.4.21"}, image: "nfs:import/ubuntu-26.04-"},
		"not wanted":     {storage: "none", image: "FOLDER/ubuntu-26.04-"},
		"another wanted": {storage: "local", say: "storage local takes no images to import on pve1"},
		"shared is full": {
			options: pvesim.Options{Storages: full("nfs")}, image: "local:import/ubuntu-26.04-",
			card: "for storage local: nfs has 0M free",
		},
		"all are full": {
			options: pvesim.Options{Storages: full("nfs", "local")}, image: "FOLDER/ubuntu-26.04-",
			card: "for FOLDER: nfs has 0M free, local has 0M free",
		},
		"the wanted is full": {
			options: pvesim.Options{Storages: full("nfs")}, storage: "nfs", say: "storage nfs on pve1 has 0M free, too little for an image of 1M",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tt.options)
			s.settings.ImageStorage = tt.storage
			s.engine = s.newEngine()
			s.start()
			job := s.await(s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"}), provision.StateSucceeded, provision.StateFailed)
			if tt.say != "" {
				if job.Problem == nil || job.Problem.Say != tt.say {
					t.Errorf("it says %+v, want %s", job.Problem, tt.say)
				}
				return
			}
			if want := strings.Replace(tt.image, "FOLDER", s.settings.ImageDir, 1); !strings.HasPrefix(job.Facts.Image, want) {
				t.Errorf("the image is %s, want %s...: %+v", job.Facts.Image, want, job.Problem)
			}
			said := job.Steps[slices.IndexFunc(job.Steps, func(s provision.StepState) bool { return s.Name == "validating OS image URL" })].Text
			if want := strings.Replace(tt.card, "FOLDER", s.settings.ImageDir, 1); !strings.HasSuffix(said, want) {
				t.Errorf("the card says %q, want %q", said, want)
			}
			before := len(s.sim.Ran())
			s.mustInstall(provision.Install{OS: "ubuntu", Node: "pve1"})
			if s.downloads(before)+s.looks(before) != 0 {
				t.Error("the second install of a system on a node asked the internet")
			}
		})
	}
}

// A storage that fills up between the choice and the download is passed over;
// when there is no other one, people are told that it is full.
func TestDepotFillsUp(t *testing.T) {
	for wanted, want := range map[string]string{"": "FOLDER/ubuntu-26.04-", "nfs": "storage nfs on pve1 has 0M free"} {
		t.Run("storage "+wanted, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{})
			s.settings.ImageStorage = wanted
			s.engine = s.newEngine()
			const download = "pvesh create /nodes/pve1/storage/nfs/download-url"
			s.sim.FailOnce(download, 255, "no space left on device")
			s.sim.OnCommand(func(r pvesim.Ran) {
				if strings.HasPrefix(r.String(), download) {
					s.sim.Fill("nfs", 0)
				}
			})
			s.start()
			job := s.await(s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"}), provision.StateSucceeded, provision.StateFailed)
			got := job.Facts.Image
			if job.Problem != nil {
				got = job.Problem.Say
			}
			if want := strings.Replace(want, "FOLDER", s.settings.ImageDir, 1); !strings.HasPrefix(got, want) {
				t.Errorf("the job %s with %q, want %q...", job.State, got, want)
			}
		})
	}
}

// An image is looked at again when the last look is old: what did not change
// costs one question, what did is downloaded beside the old one, and a server
// that does not answer harms nobody who has an image.
func TestImageIsRefreshed(t *testing.T) {
	for _, storage := range []string{"", "none"} {
		t.Run("storage "+storage, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{})
			s.settings.ImageStorage, s.settings.ImageRefresh = storage, -1 // however fresh the last look
			s.engine = s.newEngine()
			s.start()
			install := func() (provision.Job, int, int) {
				before := len(s.sim.Ran())
				job := s.mustInstall(provision.Install{OS: "ubuntu", Node: "pve1"})
				return job, s.downloads(before), s.looks(before)
			}
			first, n, _ := install()
			if n != 1 {
				t.Errorf("%d downloads", n)
			}
			if job, n, looks := install(); n != 0 || looks != 1 || job.Facts.Image != first.Facts.Image {
				t.Errorf("nothing changed: %d downloads, %d looks, image %s", n, looks, job.Facts.Image)
			}
			url := pvesim.UbuntuImageURL
			dir, file := url[:strings.LastIndex(url, "/")+1], url[strings.LastIndex(url, "/")+1:]
			body := pvesim.CloudImage(4<<30, "ubuntu 26.04")
			s.sim.SetWeb(url, body)
			s.sim.SetWeb(dir+"SHA256SUMS", pvesim.Sums("SHA256SUMS", file, body))
			second, n, _ := install()
			if n != 1 || second.Facts.Image == first.Facts.Image {
				t.Errorf("a new release: %d downloads, image %s", n, second.Facts.Image)
			}
			s.sim.SetWeb(url, nil)
			if job, n, _ := install(); n != 0 || job.Facts.Image != second.Facts.Image {
				t.Errorf("no server: %d downloads, image %s", n, job.Facts.Image)
			}
			s.clean(4)
		})
	}
}

// One image is downloaded to one place once, however many want it.
func TestOneDownloadForAll(t *testing.T) {
	for storage, want := range map[string]int{"": 1, "none": 3} { // one storage for all nodes, one folder each
		t.Run("storage "+storage, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{})
			s.settings.ImageStorage = storage
			s.engine = s.newEngine()
			s.start()
			var ids []provision.JobID
			for i := range 6 {
				ids = append(ids, s.mustOrder(provision.Install{OS: "debian", Node: []string{"pve1", "pve2", "pve3"}[i%3]}))
			}
			for _, id := range ids {
				if job := s.await(id, provision.StateSucceeded, provision.StateFailed); job.State != provision.StateSucceeded {
					t.Errorf("job %d: %+v", id, job.Problem)
				}
			}
			if n := s.downloads(0); n != want {
				t.Errorf("%d downloads, want %d", n, want)
			}
		})
	}
}

// A download that fails says why, and one that is cancelled ends on the node.
func TestDownloadEnds(t *testing.T) {
	for _, storage := range []string{"", "none"} {
		t.Run("storage "+storage, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Download: time.Minute}})
			s.settings.ImageStorage = storage
			s.engine = s.newEngine()
			s.start()
			id := s.mustOrder(ubuntu())
			s.cancelAt(t, id, "downloading OS image")
			if job := s.await(id, provision.StateCancelled, provision.StateSucceeded, provision.StateFailed); job.State != provision.StateCancelled {
				t.Fatalf("the job %s: %+v", job.State, job.Problem)
			}
			s.clean(0)
			for _, r := range s.sim.Running() {
				t.Errorf("%s still runs", r)
			}
			s.sim.SetWeb(pvesim.UbuntuImageURL, nil)
			job := s.await(s.mustOrder(ubuntu()), provision.StateFailed, provision.StateSucceeded)
			if job.Problem == nil || !strings.Contains(job.Problem.Say, "can't reach https://cloud-images.ubuntu.com/") {
				t.Errorf("it says %+v", job.Problem)
			}
		})
	}
}
