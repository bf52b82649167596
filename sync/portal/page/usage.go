package page

import (
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

type usageData struct {
	Months months
	Sum    ledger.Sum
	Chart  chart
}

// chart is usage by day, drawn as bars. Lengths are in the units of its view box.
type chart struct {
	Width, Height int
	Bars          []bar
	Marks         []mark // lines across, from the bottom up
	Top           int64  // seconds that the topmost mark stands for
}

type bar struct {
	Day             time.Time
	Sum             ledger.Sum
	X, Y, W, H, Mid int
	Label           bool // the day is written below
	Future          bool
}

type mark struct {
	Y       int
	Seconds int64
}

const (
	chartWidth  = 720
	chartHeight = 240
	chartLeft   = 64
	chartBottom = 26
	chartTop    = 12
)

func (p *Page) usage(v *visit) error {
	first, next := p.monthOf(v)
	d := usageData{Months: p.newMonths(first)}
	now := p.cfg.Now()
	var days []bar
	y, m, _ := first.Date()
	for i := 1; ; i++ {
		from, to := account.DayStart(y, m, i, first.Location()), account.DayStart(y, m, i+1, first.Location())
		if !from.Before(next) {
			break
		}
		b := bar{Day: from, Future: from.After(now)}
		if !b.Future {
			var err error
			if b.Sum, err = p.cfg.Book.Sum(v.ctx, v.account.ID, from, to); err != nil {
				return err
			}
		}
		d.Sum.Calls += b.Sum.Calls
		d.Sum.Seconds += b.Sum.Seconds
		d.Sum.Units += b.Sum.Units
		d.Sum.Micros += b.Sum.Micros
		d.Sum.ExtraUnits += b.Sum.ExtraUnits
		d.Sum.ExtraMicros += b.Sum.ExtraMicros
		days = append(days, b)
	}
	d.Chart = draw(days)
	return v.render(http.StatusOK, "usage", "usage", &d)
}

// draw lays the bars out below a scale that ends at a round number of minutes.
func draw(days []bar) chart {
	c := chart{Width: chartWidth, Height: chartHeight, Bars: days}
	var most int64
	for i := range days {
		most = max(most, days[i].Sum.Seconds)
	}
	step := roundUp((most + 3) / 4)
	c.Top = 4 * step
	const high = chartHeight - chartBottom - chartTop
	for i := range int64(5) {
		c.Marks = append(c.Marks, mark{Y: chartHeight - chartBottom - int(i)*high/4, Seconds: i * step})
	}
	slot := (chartWidth - chartLeft) / max(len(days), 1)
	for i := range days {
		b := &days[i]
		b.X, b.W = chartLeft+i*slot+2, slot-4
		b.Mid = b.X + b.W/2
		b.H = int(b.Sum.Seconds * high / c.Top)
		if b.Sum.Seconds > 0 {
			b.H = max(b.H, 2) // what is there is seen
		}
		b.Y = chartHeight - chartBottom - b.H
		b.Label = i%5 == 0 && i < len(days)-1 || i == len(days)-1
	}
	return c
}

// roundUp is the next 1, 2 or 5 times a power of ten of minutes, in seconds.
func roundUp(sec int64) int64 {
	for n := int64(60); ; n *= 10 {
		for _, k := range []int64{1, 2, 5} {
			if n*k >= sec {
				return n * k
			}
		}
	}
}

// Minutes are what a mark stands for.
func (m mark) Minutes() credit.Units { return credit.Units(credit.MinutesOfSeconds(m.Seconds)) }
