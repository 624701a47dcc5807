// The Ds selection for RDataFrame: written independently of af_kit.analysis.dsphipi, with the same rules.
#include <ROOT/RVec.hxx>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace dsphipi {

using D = ROOT::RVec<double>;
using I = ROOT::RVec<int>;
using S = ROOT::RVec<std::string>;

inline bool fired(const S &names, const I &decisions, const std::vector<std::string> &patterns)
{
   for (std::size_t i = 0; i < names.size(); ++i)
      for (const auto &pattern : patterns)
         if (decisions[i] == 1 && names[i].find(pattern) != std::string::npos)
            return true;
   return false;
}

inline bool triggered(const S &hlt, const I &hltDecision, const S &l1, const I &l1Decision)
{
   static const std::vector<std::string> paths{"HLT_DoubleMu3_Trk_Tau3mu_v"}, seeds{"L1_DoubleMu", "L1_TripleMu"};
   return fired(hlt, hltDecision, paths) && fired(l1, l1Decision, seeds);
}

inline int position(const D &values, double value)
{
   const auto at = std::find(values.begin(), values.end(), value);
   return at == values.end() ? -1 : at - values.begin();
}

inline double distance(double eta1, double phi1, double eta2, double phi2)
{
   double phi = std::abs(phi1 - phi2);
   if (phi > M_PI)
      phi = 2 * M_PI - phi;
   return std::hypot(eta1 - eta2, phi);
}

inline D distances(const D &eta1, const D &phi1, const D &eta2, const D &phi2)
{
   D found(eta1.size());
   for (std::size_t i = 0; i < found.size(); ++i)
      found[i] = distance(eta1[i], phi1[i], eta2[i], phi2[i]);
   return found;
}

// The first three steps after the trigger, and the last: cuts on branches of the ntuple.
inline I stored(const D &mass, const I &tracks, const D &significance, const D &match1, const D &match2)
{
   I bits(mass.size());
   for (std::size_t i = 0; i < bits.size(); ++i)
      bits[i] = (mass[i] > 1.62 && mass[i] < 2.02) << 1 | (tracks[i] > 1) << 2 | (significance[i] > 2) << 3 |
                (match1[i] < 0.03 && match2[i] < 0.03) << 9;
   return bits;
}

inline bool seen(double pt, double eta)
{
   const double size = std::abs(eta);
   return size < 1.2 ? pt > 3.5 : size < 2.4 && pt > 2.0;
}

inline I acceptance(const D &pt1, const D &eta1, const D &pt2, const D &eta2, const D &trackPt)
{
   I bits(pt1.size());
   for (std::size_t i = 0; i < bits.size(); ++i)
      bits[i] = (seen(pt1[i], eta1[i]) && seen(pt2[i], eta2[i]) && trackPt[i] > 1.2) << 4;
   return bits;
}

inline I separation(const D &first, const D &second, const D &third)
{
   I bits(first.size());
   for (std::size_t i = 0; i < bits.size(); ++i) {
      const auto [least, most] = std::minmax({first[i], second[i], third[i]});
      bits[i] = (least > 0.0001 && most < 0.8) << 5;
   }
   return bits;
}

inline I identified(const D &pt1, const D &pt2, const D &muonPt, const I &isGlobal, const I &isPF)
{
   I bits(pt1.size());
   for (std::size_t i = 0; i < bits.size(); ++i) {
      const int first = position(muonPt, pt1[i]), second = position(muonPt, pt2[i]);
      bits[i] = (first >= 0 && second >= 0 && isGlobal[first] && isPF[first] && isGlobal[second] && isPF[second]) << 6;
   }
   return bits;
}

inline I impact(const D &pt, const D &trackPt, const D &dz, const D &dxy)
{
   I bits(pt.size());
   for (std::size_t i = 0; i < bits.size(); ++i) {
      const int at = position(trackPt, pt[i]);
      bits[i] = (at >= 0 && std::abs(dz[at]) < 20 && std::abs(dxy[at]) < 0.3) << 7;
   }
   return bits;
}

inline I phi(const D &pt1, const D &eta1, const D &phi1, const D &pt2, const D &eta2, const D &phi2)
{
   I bits(pt1.size());
   for (std::size_t i = 0; i < bits.size(); ++i) {
      double e = 0, x = 0, y = 0, z = 0;
      const double momenta[2][3] = {{pt1[i], eta1[i], phi1[i]}, {pt2[i], eta2[i], phi2[i]}};
      for (const auto &[pt, eta, phi] : momenta) {
         const double p = pt * std::cosh(eta);
         e += std::sqrt(p * p + 0.10566 * 0.10566);
         x += pt * std::cos(phi), y += pt * std::sin(phi), z += pt * std::sinh(eta);
      }
      const double mass = std::sqrt(std::max(e * e - x * x - y * y - z * z, 0.));
      bits[i] = (mass > 1.00 && mass < 1.04) << 8;
   }
   return bits;
}

// The first candidate with the smallest chi2 of those that pass all steps; -1 if none has a chi2.
inline int best(const I &steps, const D &chi2)
{
   int found = -1;
   for (std::size_t i = 0; i < steps.size(); ++i)
      if (steps[i] == 1023 && !std::isnan(chi2[i]) && (found < 0 || chi2[i] < chi2[found]))
         found = i;
   return found;
}

// The largest number of consecutive steps that a candidate passes; -1 without candidates.
inline int furthest(const I &steps)
{
   int most = -1;
   for (int bits : steps) {
      int depth = 0;
      while (depth < 10 && bits >> depth & 1)
         ++depth;
      most = std::max(most, depth);
   }
   return most;
}

} // namespace dsphipi
