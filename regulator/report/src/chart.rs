//! Drawings, in whole numbers of a small canvas, for inline SVG.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cell::Cell;
use crate::model::{ControlResult, Report};
use crate::row::{Columns, Measured, Row};
use crate::style::Style;
use hufu_proof::text::shown as visible;

/// Bars of the chart over time.
const BARS: usize = 24;
/// Its height.
const HEIGHT: u64 = 36;
/// Bars of the chart by owner, and their width.
const OWNERS: usize = 4;
const WIDTH: u64 = 100;
/// Width of the drawing of a value beside its limits.
const SCALE: i128 = 196;

/// The chart of a control.
#[derive(Serialize)]
pub(crate) struct Chart {
    /// Findings by when they began, from `first` to `last`; empty where no column
    /// tells it.
    bars: Vec<Bar>,
    first: String,
    last: String,
    /// Findings by owner otherwise.
    owners: Vec<OwnerBar>,
}

#[derive(Serialize)]
struct Bar {
    x: usize,
    y: u64,
    height: u64,
}

#[derive(Serialize)]
struct OwnerBar {
    name: String,
    count: u64,
    width: u64,
}

impl Chart {
    pub(crate) fn of(
        report: &Report,
        control: &ControlResult,
        columns: &Columns<'_>,
        style: Style,
    ) -> Self {
        let mut chart = Self {
            bars: Vec::new(),
            first: String::new(),
            last: String::new(),
            owners: Vec::new(),
        };
        let times: Vec<i64> = columns
            .since
            .iter()
            .flat_map(|&place| control.findings.iter().map(move |one| one.row.get(place)))
            .filter_map(|cell| match cell {
                Some(Cell::Integer(time)) => Some(*time),
                _ => None,
            })
            .collect();
        let end = i64::try_from(report.as_of.time_ms).unwrap_or(i64::MAX);
        if let Some(first) = times.iter().min().copied() {
            let last = times.iter().max().copied().unwrap_or(first).max(end);
            chart.over_time(&times, first, last);
            let moment = |time: i64| {
                let (date, time) = style.utc_offset.date_and_time(time);
                format!("{date} {}", &time[..5])
            };
            (chart.first, chart.last) = (moment(first), moment(last));
        } else if columns.shown.owner.is_some() {
            chart.by_owner(control, columns);
        }
        chart
    }

    fn over_time(&mut self, times: &[i64], first: i64, last: i64) {
        let span = (i128::from(last) - i128::from(first)).max(1);
        let mut counts = [0u64; BARS];
        for time in times {
            let place = (i128::from(*time) - i128::from(first)) * BARS as i128 / span;
            let place = usize::try_from(place).unwrap_or(0).min(BARS - 1);
            counts[place] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        self.bars = counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| {
                // One of many is still seen.
                let height = (count * HEIGHT / most).max(2);
                Bar { x: index * 10 + 1, y: HEIGHT - height, height }
            })
            .collect();
    }

    fn by_owner(&mut self, control: &ControlResult, columns: &Columns<'_>) {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let owner = columns.shown.owner.as_deref().unwrap_or_default();
        for finding in &control.findings {
            if let Some(cell) = columns.cell(finding, owner) {
                *counts.entry(visible(&cell.to_string()).into_owned()).or_default() += 1;
            }
        }
        let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
        counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        counts.truncate(OWNERS);
        let most = counts.first().map_or(1, |(_, count)| *count).max(1);
        self.owners = counts
            .into_iter()
            .map(|(name, count)| OwnerBar { name, count, width: (count * WIDTH / most).max(2) })
            .collect();
    }
}

/// A value, or the range of values, beside its limits.
#[derive(Serialize)]
pub(crate) struct Drawing {
    /// Where the values are.
    x: i128,
    width: i128,
    /// What is within the limits.
    good_x: i128,
    good_width: i128,
    /// Where the limits are.
    limits: Vec<i128>,
}

impl Drawing {
    pub(crate) fn of(row: &Row<'_>) -> Option<Self> {
        let Measured { from, to, low, high } = row.columns.measured(row.finding)?;
        if low.is_none() && high.is_none() {
            return None;
        }
        let mut points: Vec<i128> = vec![from.into(), to.into()];
        points.extend(low.iter().chain(&high).map(|limit| i128::from(*limit)));
        // A value alone against an upper limit is seen from zero.
        if low.is_none() && points.iter().all(|point| *point >= 0) {
            points.push(0);
        }
        let least = points.iter().min().copied().unwrap_or(0);
        let most = points.iter().max().copied().unwrap_or(0);
        // A twentieth of room, so that a limit at the edge is seen.
        let room = (most - least) / 20;
        let (begin, span) = if low.is_none() && least == 0 {
            (0, most + room)
        } else {
            (least - room, most - least + 2 * room)
        };
        let x = |value: i128| 2 + (value - begin) * SCALE / span.max(1);
        let (from, to) = (x(i128::from(from).min(to.into())), x(i128::from(to).max(from.into())));
        let good_x = low.map_or(2, |low| x(low.into()));
        let good_end = high.map_or(2 + SCALE, |high| x(high.into()));
        let single = row.columns.shown.range.as_ref().is_some_and(|range| range.from.is_none());
        let from = if single && low.is_none() { 2 } else { from };
        Some(Self {
            x: from,
            width: (to - from).max(3),
            good_x,
            good_width: (good_end - good_x).max(0),
            limits: low.iter().chain(&high).map(|limit| x(i128::from(*limit))).collect(),
        })
    }
}
