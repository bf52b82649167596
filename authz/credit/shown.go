package credit

// Minutes is credit as a customer sees it, 1 credit being 1 minute: rounded
// down to 0.01 (toward minus infinity), at most two decimals, none when whole.
// In JSON it is a number: 500, 498.6.
type Minutes Units

// Amount is money as a customer sees it: always two decimals, rounded half up
// (a tie goes away from zero). In JSON it is a number: 8.40.
type Amount Micros

const (
	unitsPerHundredth  = int64(PerCredit) / 100
	microsPerHundredth = int64(PerCurrency) / 100
	millionthsPerCent  = scale / 100
)

// MinutesOfSeconds returns a number of talk seconds as minutes, rounded down to
// 0.01 (84 s is 1.4). The result is kept within ±Max units.
func MinutesOfSeconds(sec int64) Minutes {
	const msPerSecond, most = 1000, Max / 1000
	units := min(max(sec, -most), most) * msPerSecond
	return Minutes(floorDiv(units, unitsPerHundredth) * unitsPerHundredth)
}

// String prints the minutes: 500, 498.6, -0.01.
func (m Minutes) String() string {
	return formatHundredths(floorDiv(int64(m), unitsPerHundredth), 0)
}

// MarshalJSON writes a JSON number.
func (m Minutes) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads the number that MarshalJSON writes. Errors: those of
// [ParseCredits].
func (m *Minutes) UnmarshalJSON(b []byte) error {
	u, err := ParseCredits(string(b))
	if err != nil {
		return err
	}
	*m = Minutes(u)
	return nil
}

// String prints the amount: 8.40, -0.07.
func (a Amount) String() string {
	return formatHundredths(mulDiv(int64(a), 1, microsPerHundredth), 2)
}

// MarshalJSON writes a JSON number, always with two decimals.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalJSON reads the number that MarshalJSON writes. Errors: those of
// [ParseMoney].
func (a *Amount) UnmarshalJSON(b []byte) error {
	m, err := ParseMoney(string(b))
	if err != nil {
		return err
	}
	*a = Amount(m)
	return nil
}

func formatHundredths(n int64, decimals int) string {
	abs := magnitude(n)
	return format(n < 0, abs/100, int64(abs%100)*millionthsPerCent, decimals)
}
